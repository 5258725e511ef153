// virDomainBlockCommit: its checks in libvirt's order (measured on libvirt 9.0:
// testdata/libvirt_9_0_job_errors.json), and the start of the job.

#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/lookup.h"

namespace conformance {

namespace {

constexpr std::uint32_t kSupported =
    kCommitShallow | kCommitDelete | kCommitActive | kCommitRelative | kCommitBandwidthBytes;

}  // namespace

DomainResult<void> Domain::block_commit(const std::string& name,
                                        const std::optional<std::string>& base,
                                        const std::optional<std::string>& top,
                                        std::uint64_t bandwidth, std::uint32_t flags) {
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuDomainBlockCommit");
  if ((flags & kCommitBandwidthBytes) == 0) {
    if (bandwidth > errors::kMaxBandwidth >> 20) return errors::bandwidth_overflow();
    bandwidth <<= 20;
  }
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  Disk& disk = **found;
  auto request = find_layers(disk, base, top, flags);
  if (!request) return std::unexpected(std::move(request).error());
  request->speed = bandwidth;
  if (disk.job) return errors::job_active(disk.target, disk.job->mirrors());
  if (auto fit = check_layers(disk, *request); !fit) return fit;
  return start_commit(disk, *request);
}

DomainResult<Domain::CommitRequest> Domain::find_layers(const Disk& disk,
                                                        const std::optional<std::string>& base,
                                                        const std::optional<std::string>& top,
                                                        std::uint32_t flags) {
  CommitRequest request{.top = disk.source.get(), .flags = flags};
  if (top && *top != disk.target) {
    auto image = find_image(*disk.source, nullptr, disk.target, *top);
    if (!image) return std::unexpected(std::move(image).error());
    request.top = *image;
  }
  if (base) {
    auto image = find_image(*disk.source, request.top, disk.target, *base);
    if (!image) return std::unexpected(std::move(image).error());
    request.base = *image;
  } else if ((flags & kCommitShallow) != 0) {
    request.base = request.top->beneath.get();
  } else {
    request.base = request.top->beneath.get();
    if (request.base == nullptr) return errors::no_base_image(disk.target);
    while (request.base->beneath) request.base = request.base->beneath.get();
  }
  return request;
}

DomainResult<void> Domain::check_layers(const Disk& disk, const CommitRequest& request) {
  const Source& active = *disk.source;
  const bool is_active = request.top == &active;
  if (is_active && (request.flags & kCommitActive) == 0)
    return errors::active_flag_missing(disk.target);
  if (!is_active && (request.flags & kCommitActive) != 0)
    return errors::top_not_active(request.top->path);
  if (!request.top->beneath) return errors::nothing_beneath_top(request.top->path, active.path);
  if ((request.flags & kCommitShallow) != 0 && request.base != request.top->beneath.get())
    return errors::not_immediately_below(request.base->path, request.top->path, active.path);
  if (!is_active && (request.flags & kCommitRelative) != 0 &&
      !relative_name(*request.top, *request.base))
    return errors::not_relative();
  if (request.speed > errors::kMaxBandwidth) return errors::negative_speed();
  return {};
}

DomainResult<void> Domain::start_commit(Disk& disk, const CommitRequest& request, bool waits) {
  const bool is_active = request.top == disk.source.get();
  Job job;
  job.kind = is_active ? JobKind::active_commit : JobKind::commit;
  job.id = "commit-" + disk.target + "-" + request.top->own_node();
  job.top = request.top;
  job.base = request.base;
  job.removes = (request.flags & kCommitDelete) != 0;
  job.waits = waits;
  Json nodes = {{"top-node", request.top->format_node()},
                {"base-node", request.base->format_node()}};
  if (!is_active)
    nodes["backing-file"] = (request.flags & kCommitRelative) != 0
                                ? relative_name(*request.top, *request.base).value_or("")
                                : request.base->path;
  return start_job(disk, std::move(job), "block-commit", nodes, request.speed);
}

}  // namespace conformance
