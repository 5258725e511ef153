// virDomainBlockPull, and virDomainBlockRebase without COPY, which is the same down to a base.

#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/lookup.h"

namespace conformance {

DomainResult<void> Domain::block_pull(const std::string& disk, std::uint64_t bandwidth,
                                      std::uint32_t flags) {
  if ((flags & ~kPullBandwidthBytes) != 0)
    return errors::unsupported_flags(flags & ~kPullBandwidthBytes, "qemuDomainBlockPull");
  static_assert(std::uint32_t{kPullBandwidthBytes} == kRebaseBandwidthBytes);
  return rebase(disk, std::nullopt, bandwidth, flags);
}

DomainResult<void> Domain::rebase(const std::string& name, const std::optional<std::string>& base,
                                  std::uint64_t bandwidth, std::uint32_t flags) {
  const bool relative = (flags & kRebaseRelative) != 0;
  if (relative && !base) return errors::relative_without_base();
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  Disk& disk = **found;
  if (disk.job) return errors::job_active(disk.target, disk.job->mirrors());

  Source* beneath = nullptr;
  std::string base_name;
  if (base) {
    auto image = (flags & kRebaseBaseXml) != 0
                     ? find_base(disk, *base)
                     : find_image(*disk.source, disk.source.get(), disk.target, *base);
    if (!image) return std::unexpected(std::move(image).error());
    beneath = *image;
    base_name = beneath->path;
    if (relative) {
      auto kept = relative_name(*disk.source->beneath, *beneath);
      if (!kept) return errors::not_relative();
      base_name = *std::move(kept);
    }
  }
  if ((flags & kRebaseBandwidthBytes) == 0) {
    if (bandwidth > errors::kMaxBandwidth >> 20) return errors::bandwidth_overflow();
    bandwidth <<= 20;
  }
  if (bandwidth > errors::kMaxBandwidth) return errors::negative_speed();
  return start_pull(disk, beneath, base_name, bandwidth);
}

DomainResult<void> Domain::start_pull(Disk& disk, Source* base, const std::string& base_name,
                                      std::uint64_t speed) {
  disk.pulled.reset();
  Job job;
  job.kind = JobKind::pull;
  job.id = "pull-" + disk.target + "-" + disk.source->own_node();
  job.top = disk.source->beneath.get();
  job.base = base;
  Json nodes = Json::object();
  if (base != nullptr) nodes = {{"base-node", base->format_node()}, {"backing-file", base_name}};
  return start_job(disk, std::move(job), "block-stream", nodes, speed);
}

DomainResult<void> Domain::start_job(Disk& disk, Job job, std::string_view command,
                                     const Json& nodes, std::uint64_t speed) {
  Json arguments = {{"device", disk.source->format_node()},
                    {"job-id", job.id},
                    {"auto-finalize", !job.waits},
                    {"auto-dismiss", false}};
  arguments.update(nodes);
  if (speed != 0) arguments["speed"] = speed;
  disk.job = std::move(job);
  auto allowed = take_leases(disk);
  if (allowed) allowed = raise_labels(disk);
  if (!allowed) {
    disk.job.reset();
    give_back(disk);
    return allowed;
  }
  save();
  if (auto started = execute(command, arguments); !started) {
    if (std::holds_alternative<DomainError>(started.error())) {
      disk.job.reset();
      give_back(disk);
      save();
    }
    return std::unexpected(std::move(started).error());
  }
  disk.job->state = JobState::running;
  save();
  return {};
}

}  // namespace conformance
