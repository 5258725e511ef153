// virDomainBlockPull with a cursor, BlockPullAll, GetBlockPullInfo and BlockPullAbort, as proposed
// on libvir-list in May 2011 (V4) and never in libvirt.
//
// An increment is a read through a copy-on-read filter over the active node; after each, QEMU is
// asked whether the active image has all of the disk itself, and then a block-stream, which finds
// nothing to copy, drops the link.  Measured, with what else could be done:
// docs/decisions/incremental-pull.md.

#include <algorithm>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"

namespace conformance {

namespace {

// The longest increment, in bytes: what one step of block-stream goes through.
constexpr std::uint64_t kIncrement = std::uint64_t{512} << 10;

// What qemu-io said; a hypervisor that is gone stays that.
template <class T>
errors::Failure failed(const std::string& target, const GuestResult<T>& result) {
  if (const auto* gone = std::get_if<TargetFailure>(&result.error())) return errors::Failure(*gone);
  return errors::cannot_pull(target, std::get<GuestFailure>(result.error()).text);
}

}  // namespace

DomainResult<PullPosition> Domain::pull(const std::string& name,
                                        std::optional<std::uint64_t> cursor, std::uint32_t flags) {
  if (dialect_ != Dialect::as_proposed)
    return errors::not_as_libvirt("virDomainBlockPull with a cursor");
  if ((flags & ~kPullContinuous) != 0)
    return errors::unsupported_flags(flags & ~kPullContinuous, "qemuDomainBlockPull");
  if (auto taken = take_events(); !taken) return std::unexpected(std::move(taken).error());
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  Disk& disk = **found;
  if (disk.job) return errors::job_active(disk.target, disk.job->mirrors());
  auto sizes = sizes_of(*disk.source);
  if (!sizes) return std::unexpected(std::move(sizes).error());
  PullPosition position{.cursor = cursor.value_or(0), .end = sizes->capacity};
  if ((flags & kPullContinuous) != 0) {
    if (auto started = start_pull(disk, nullptr, "", 0); !started)
      return std::unexpected(std::move(started).error());
    return position;
  }
  if (position.cursor > position.end)
    return errors::cursor_beyond_end(disk.target, position.cursor, position.end);
  const std::uint64_t length = std::min(kIncrement, position.end - position.cursor);
  const bool has_backing = disk.source->beneath != nullptr;
  if (has_backing && length > 0)
    if (auto done = pull_increment(disk, position.cursor, length); !done)
      return std::unexpected(std::move(done).error());
  position.cursor += length;
  disk.pulled = position;
  if (!has_backing) return position;
  auto depends = depends_on_backing(disk, position.end);
  if (!depends) return std::unexpected(std::move(depends).error());
  if (*depends) return position;
  // What the guest filled may not have been written back: without the link, and without that,
  // nothing would be left of what the backing image has (seen on 5.2 and 7.2 when QEMU is killed
  // then).
  auto flushed =
      execute_ignoring("human-monitor-command",
                       {{"command-line", "qemu-io " + disk.source->format_node() + " \"flush\""}});
  if (!flushed) return std::unexpected(std::move(flushed).error());
  if (auto started = start_pull(disk, nullptr, "", 0); !started)
    return std::unexpected(std::move(started).error());
  position.drops_backing = true;
  return position;
}

// The filter is there only during the call: a client that dies leaves at most this one node.
DomainResult<void> Domain::pull_increment(Disk& disk, std::uint64_t offset, std::uint64_t length) {
  disk.pull_filter = true;
  save();
  auto added = execute("blockdev-add", {{"driver", "copy-on-read"},
                                        {"node-name", disk.pull_node()},
                                        {"file", disk.source->format_node()}});
  if (!added) return std::unexpected(std::move(added).error());
  const auto read = NodeIo(hypervisor_, disk.pull_node()).read(offset, length);
  if (!read && std::holds_alternative<TargetFailure>(read.error()))
    return failed(disk.target, read);
  if (auto removed = execute("blockdev-del", {{"node-name", disk.pull_node()}}); !removed)
    return std::unexpected(std::move(removed).error());
  disk.pull_filter = false;
  save();
  if (!read) return failed(disk.target, read);
  return {};
}

DomainResult<bool> Domain::depends_on_backing(const Disk& disk, std::uint64_t size) {
  const auto own = NodeIo(hypervisor_, disk.source->format_node()).allocated(size);
  if (!own) return failed(disk.target, own);
  return *own < size;
}

DomainResult<void> Domain::pull_all(const std::string& disk) {
  auto started = pull(disk, std::nullopt, kPullContinuous);
  if (!started) return std::unexpected(std::move(started).error());
  return {};
}

DomainResult<PullPosition> Domain::pull_info(const std::string& name) {
  if (dialect_ != Dialect::as_proposed) return errors::not_as_libvirt("virDomainGetBlockPullInfo");
  auto info = block_job_info(name, 0);
  if (!info) return std::unexpected(std::move(info).error());
  if (*info) return PullPosition{.cursor = (*info)->cur, .end = (*info)->end};
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  if (!(*found)->pulled) return errors::no_job((*found)->target);
  return *(*found)->pulled;
}

// Of increments nothing is running: what they have pulled stays, and so does the link.
DomainResult<void> Domain::pull_abort(const std::string& name) {
  if (dialect_ != Dialect::as_proposed) return errors::not_as_libvirt("virDomainBlockPullAbort");
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  const bool begun = std::exchange((*found)->pulled, std::nullopt).has_value();
  if (!(*found)->job && begun) return {};
  return block_job_abort(name, 0);
}

}  // namespace conformance
