// What the founding documents propose and libvirt never had: pull by increments, a base as a
// document (docs/model.md, 1.7).

#include <algorithm>

#include "conformance/model/merge.h"
#include "conformance/model/predictions.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

constexpr std::uint64_t kIncrement = std::uint64_t{512} << 10;  // bytes, the longest

// Whether the layer has all of the disk itself; nothing where that is not known.
std::optional<bool> surely_has_all(const Layer& layer) {
  bool may_lack = false;
  for (const CellRun& run : layer.runs()) {
    if (run.cell.kind() == Kind::absent) return false;
    may_lack = may_lack || run.cell.absent;
  }
  if (may_lack) return std::nullopt;
  return true;
}

}  // namespace

CallPrediction DomainModel::block_rebase_to(const std::string& disk_name, const BaseDocument& base,
                                            std::uint64_t bandwidth, std::uint32_t flags) {
  constexpr std::uint32_t kPlain = kRelative | kBandwidthBytes;
  if (!as_proposed_ || (flags & ~(kPlain | kBaseXml)) != 0)
    return block_rebase(disk_name, base.path, bandwidth, flags);
  if (Disk* const it = find(disk_name); it != nullptr && !it->job) {
    const Found found = find_link(*it, 1, base.path);
    if (found.otherwise.accepted()) {
      const Link& link = it->links[found.link];
      const std::string format = name_of(files_.at(link.file).layer.format());
      if (base.index != 0 && base.index != link.index)
        return refused("QEMU", "CONFIG_UNSUPPORTED",
                       fmt::format("image '{}' in the chain has index {}, the document says {}",
                                   path(link.file), link.index, base.index));
      if (!base.format.empty() && base.format != format)
        return refused("QEMU", "CONFIG_UNSUPPORTED",
                       fmt::format("image '{}' in the chain is '{}', the document says '{}'",
                                   path(link.file), format, base.format));
    }
  }
  return rebase(disk_name, base.path, bandwidth, flags & kPlain);
}

CallPrediction DomainModel::pull(const std::string& disk_name, std::optional<std::uint64_t> cursor,
                                 std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~std::uint32_t{kContinuous})
    return unsupported_flags(strange, "qemuDomainBlockPull");
  Disk* const it = find(disk_name);
  if (it == nullptr) return disk_not_found(disk_name);
  if (it->job) return busy(it->target, it->job->mirrors());
  if (!it->hidden.empty()) return no_opinion("QEMU knows more of the chain than libvirt");
  File& active = files_.at(it->links.front().file);
  PullPosition position{.cursor = cursor.value_or(0), .end = active.layer.size()};
  if ((flags & kContinuous) != 0) {
    CallPrediction prediction = start_pull(*it, it->links.size(), "", 0);
    prediction.position = position;
    return prediction;
  }
  if (position.cursor > position.end)
    return refused("QEMU", "INVALID_ARG",
                   fmt::format("cursor {} is beyond the end {} of disk '{}'", position.cursor,
                               position.end, it->target));
  const std::uint64_t length = std::min(kIncrement, position.end - position.cursor);
  const bool has_backing = it->links.size() > 1;
  if (has_backing) {
    Layer pulled = increment_pulled(active.layer, live_chain(*it, 1), position.cursor, length);
    if (pulled != active.layer) active.unchanged = false;
    active.layer = std::move(pulled);
  }
  position.cursor += length;
  it->pulled = position;
  CallPrediction prediction;
  prediction.position = position;
  prediction.drops_backing = has_backing ? surely_has_all(active.layer) : false;
  if (has_backing) wake_others(*it);
  return prediction;
}

void DomainModel::on_pulled(const std::string& target, bool drops_backing) {
  if (!drops_backing) return;
  Disk& it = disk(target);
  CHECK(!it.job && it.links.size() > 1, "no link that could go");
  // Now it is known that nothing is Absent.
  Layer& active = files_.at(it.links.front().file).layer;
  const std::vector<CellRun> runs = active.runs();
  for (const CellRun& run : runs) {
    Cell cell = run.cell;
    cell.absent = false;
    active.assign(run.offset, run.length, cell);
  }
  static_cast<void>(start_pull(it, it.links.size(), "", 0));
}

CallPrediction DomainModel::pull_all(const std::string& disk_name) {
  return pull(disk_name, std::nullopt, kContinuous);
}

CallPrediction DomainModel::pull_info(const std::string& disk_name) {
  const Disk* const it = find(disk_name);
  if (it == nullptr) return disk_not_found(disk_name);
  CallPrediction prediction;
  if (it->job) return prediction;
  if (!it->pulled) return no_job(it->target);
  prediction.position = it->pulled;
  return prediction;
}

CallPrediction DomainModel::pull_abort(const std::string& disk_name) {
  Disk* const it = find(disk_name);
  if (it == nullptr) return disk_not_found(disk_name);
  const bool begun = it->pulled.has_value();
  it->pulled.reset();
  if (!it->job && begun) return {};
  return block_job_abort(disk_name, 0);
}

}  // namespace conformance::model
