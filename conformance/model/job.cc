// A job's life: its end, its speed, and what the guest does meanwhile.

#include <utility>

#include <fmt/format.h>
#include "conformance/model/merge.h"
#include "conformance/model/predictions.h"
#include "sim/base/check.h"

namespace conformance::model {

CallPrediction DomainModel::block_job_abort(const std::string& disk_name, std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~(kAsync | kPivot))
    return unsupported_flags(strange, "qemuDomainBlockJobAbort");
  Disk* disk = find(disk_name);
  if (disk == nullptr) return disk_not_found(disk_name);
  if (!disk->job) return no_job(disk->target);
  if ((flags & kPivot) != 0 && !disk->job->ready)
    return refused("QEMU", "BLOCK_COPY_ACTIVE",
                   fmt::format("block job '{}' not ready for pivot yet", disk->job_id));
  if ((flags & kPivot) != 0 && disk->job->kind == JobKind::copy && !disk->job->attached &&
      disk->job->format == Format::raw && !disk->job->beneath.links.empty())
    return refused("QEMU", "INTERNAL_ERROR",
                   "unable to execute QEMU command 'transaction': The overlay does not support "
                   "backing images");
  if (disk->job->ready)
    disk->pass({"waiting", "pending", "concluded", "null"});
  else
    disk->pass({"aborting", "concluded", "null"});
  const JobKind kind = disk->job->kind;
  if ((flags & kPivot) != 0) {
    pivot(*disk);
    emit(*disk, kind, "COMPLETED");
  } else {
    end_job(*disk);
    emit(*disk, kind, "CANCELED");
  }
  return {};
}

CallPrediction DomainModel::block_job_set_speed(const std::string& disk_name,
                                                std::uint64_t bandwidth, std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~1U)
    return unsupported_flags(strange, "qemuDomainBlockJobSetSpeed");
  const bool bytes = flags != 0;
  if (!bytes && bandwidth > kMostMebibytes) return too_many_mebibytes();
  Disk* disk = find(disk_name);
  if (disk == nullptr) return disk_not_found(disk_name);
  if (!disk->job) return no_job(disk->target);
  const std::uint64_t speed = bytes ? bandwidth : bandwidth << 20;
  if (speed > kSignedMax) return negative_speed();
  Job& job = *disk->job;
  if (!job.mirrors()) {  // when it ends is not foreseen
    job.course = speed == 0 ? Course::ready : Course::limited;
    return {};
  }
  // A higher speed wakes a sleeping job, which then finds that everything is copied; the same or
  // a lower one does not (measured, 7.2).  What the guest has dirtied meanwhile is paid for anew.
  if (!job.ready && speed == 0)
    job.course = Course::ready;
  else if (!job.ready && job.speed == 0)
    job.course = Course::limited;
  else if (!job.ready && speed > job.speed)
    job.course = job.disturbed ? Course::limited : Course::ready;
  job.speed = speed;
  CallPrediction prediction;
  prediction.course = job.course;
  return prediction;
}

// --- what happens otherwise -------------------------------------------------------------------

void DomainModel::on_ready(const std::string& target) {
  Disk& it = disk(target);
  CHECK(it.job && it.job->course != Course::held, "READY of a job that cannot be ready");
  if (it.job->ready) return;
  it.job->ready = true;
  it.job->run.synced(live_chain(it), attached_to_copy(it));
  it.pass({"ready"});
  emit(it, it.job->kind, "READY");
}

template <class Change>
void DomainModel::guest(const std::string& target, std::uint64_t offset, std::uint64_t length,
                        Change change) {
  Disk& it = disk(target);
  File& active = files_.at(it.links.front().file);
  LayerChain chain = live_chain(it);
  // What an active commit has copied so far lies below the guest already.
  const bool commits = it.job && it.job->kind == JobKind::active_commit;
  const Layer base_now = commits ? it.job->run.destination() : Layer(Format::raw, 0);
  if (commits) chain.at(it.job->base) = &base_now;
  const LayerChain below(chain.begin() + 1, chain.end());
  change(active.layer, below, offset, length);
  active.unchanged = false;
  if (!it.job) return;
  if (it.job->kind == JobKind::pull) change(it.job->finished, below, offset, length);
  if (!it.job->mirrors()) return;
  if (it.job->writes_through)
    it.job->run.written_through(chain, attached_to_copy(it), offset, length, change);
  else
    it.job->run.source_changed(chain, attached_to_copy(it), offset, length);
  if (!it.job->ready) it.job->disturbed = true;
}

void DomainModel::guest_write(const std::string& target, std::uint64_t offset, std::uint64_t length,
                              std::uint8_t pattern) {
  guest(target, offset, length,
        [pattern](Layer& top, const LayerChain& below, std::uint64_t at, std::uint64_t size) {
          write(top, below, at, size, pattern);
        });
}
void DomainModel::guest_zero(const std::string& target, std::uint64_t offset,
                             std::uint64_t length) {
  guest(target, offset, length,
        [](Layer& top, const LayerChain& below, std::uint64_t at, std::uint64_t size) {
          write_zeroes(top, below, at, size);
        });
}
void DomainModel::guest_discard(const std::string& target, std::uint64_t offset,
                                std::uint64_t length) {
  // The node ignores it unless it was told to unmap, and the filter of a running copy, which
  // was not, ignores it anyway (measured, 7.2).
  if (!disk(target).discard_unmap || disk(target).job) return;
  guest(target, offset, length,
        [](Layer& top, const LayerChain& below, std::uint64_t at, std::uint64_t size) {
          discard(top, below, at, size);
        });
}

Layer DomainModel::active_layer(const std::string& target) const {
  return files_.at(disk(target).links.front().file).layer;
}

void DomainModel::guest_failed(const std::string& target, const Layer& before) {
  Layer& now = files_.at(disk(target).links.front().file).layer;
  now = either(before, now);
}

void DomainModel::wake_others(const Disk& it) {
  for (Disk& other : disks_)
    if (&other != &it && other.job && !other.job->ready && other.job->course == Course::held)
      other.job->course = Course::limited;
}

// The job is gone and the disk stays as it is.
void DomainModel::end_job(Disk& it) {
  File& target = files_.at(it.job->destination);
  if (it.job->kind == JobKind::commit)
    target.layer = begun(chain_between(it, it.job->first, it.job->base), target.layer,
                         live_chain(it, it.job->base + 1));
  target.layer =
      it.job->mirrors() ? it.job->run.destination() : either(target.layer, it.job->finished);
  wake_others(it);
  target.may_leak = it.job->kind == JobKind::active_commit && !it.job->ready;
  it.job.reset();
}

void DomainModel::pivot(Disk& it) {
  const Job job = *it.job;
  end_job(it);
  if (job.kind == JobKind::active_commit) return drop_links(it, job);
  const Link top{job.destination, job.index, {}};
  if (job.keeps_beneath) {
    it.links.front() = top;
    return;
  }
  it.links = job.beneath.links;
  it.links.insert(it.links.begin(), top);
  it.terminated = job.beneath.terminated;
  it.hidden = job.beneath.hidden;
}

void DomainModel::emit(const Disk& it, JobKind kind, const std::string& status) {
  constexpr const char* kTypes[] = {"COPY", "PULL", "COMMIT", "ACTIVE_COMMIT"};
  events_.push_back({.disk = it.target,
                     .path = path(it.links.front().file),
                     .type = kTypes[std::to_underlying(kind)],
                     .status = status});
}

}  // namespace conformance::model
