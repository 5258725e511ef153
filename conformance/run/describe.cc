#include "conformance/run/describe.h"

#include <algorithm>
#include <array>

#include "conformance/target/domain_api.h"

namespace conformance {

void describe(const Scenario& scenario, const HostLength& host_length, model::DomainModel& model) {
  const auto file_of = [&](const std::string& name) {
    const auto found = std::ranges::find(scenario.images, name, &Image::name);
    return found == scenario.images.end() ? std::string() : found->file;
  };
  for (const Image& image : scenario.images) {
    model::ImageSpec spec;
    spec.name = image.file;
    spec.format = image.format == Image::Format::raw ? model::Format::raw : model::Format::qcow2;
    spec.size = image.size;
    spec.cluster_size = image.cluster_size;
    spec.backing = file_of(image.backing);
    spec.backing_string = image.backing_name;
    spec.host_length = host_length(image.file);
    spec.encrypted = !image.passphrase.empty();
    model.add_image(spec);
    for (const Write& write : image.writes) {
      if (write.kind == Write::Kind::data)
        model.fill(image.file, write.offset, write.length, write.pattern);
      else if (write.kind == Write::Kind::zero)
        model.fill_zeroes(image.file, write.offset, write.length);
      else
        model.fill_discard(image.file, write.offset, write.length);
    }
  }
  for (const Disk& disk : scenario.disks) model.add_disk(disk.target, file_of(disk.source));
  if (scenario.persistent) model.set_persistent();
  if (scenario.recipe == CopyRecipe::drive) model.use_drive_recipe();
  if (!scenario.leases) return;
  std::vector<model::OtherLease> others;
  for (const OtherLease& lease : *scenario.leases)
    others.push_back({lease.file, lease.holder, lease.mode == LeaseMode::exclusive});
  model.use_lock_manager(std::move(others));
}

std::uint32_t bits_of(const CallStep& call) {
  struct Flag {
    CallStep::Api api;
    std::string_view name;
    std::uint32_t bit;
  };
  using enum CallStep::Api;
  static constexpr std::array kFlags = {
      Flag{block_rebase, "shallow", kRebaseShallow},
      Flag{block_rebase, "reuse-ext", kRebaseReuseExt},
      Flag{block_rebase, "copy-raw", kRebaseCopyRaw},
      Flag{block_rebase, "copy", kRebaseCopy},
      Flag{block_rebase, "relative", kRebaseRelative},
      Flag{block_rebase, "copy-dev", kRebaseCopyDev},
      Flag{block_rebase, "bandwidth-bytes", kRebaseBandwidthBytes},
      Flag{block_pull, "bandwidth-bytes", kPullBandwidthBytes},
      Flag{block_rebase, "base-xml", kRebaseBaseXml},
      Flag{pull, "continuous", kPullContinuous},
      Flag{block_commit, "shallow", kCommitShallow},
      Flag{block_commit, "delete", kCommitDelete},
      Flag{block_commit, "active", kCommitActive},
      Flag{block_commit, "relative", kCommitRelative},
      Flag{block_commit, "bandwidth-bytes", kCommitBandwidthBytes},
      Flag{block_copy, "shallow", kCopyShallow},
      Flag{block_copy, "reuse-ext", kCopyReuseExt},
      Flag{block_copy, "transient-job", kCopyTransientJob},
      Flag{block_copy, "synchronous-writes", kCopySynchronousWrites},
      Flag{snapshot_create, "redefine", kSnapshotRedefine},
      Flag{snapshot_create, "current", kSnapshotCurrent},
      Flag{snapshot_create, "no-metadata", kSnapshotNoMetadata},
      Flag{snapshot_create, "halt", kSnapshotHalt},
      Flag{snapshot_create, "disk-only", kSnapshotDiskOnly},
      Flag{snapshot_create, "reuse-ext", kSnapshotReuseExt},
      Flag{snapshot_create, "quiesce", kSnapshotQuiesce},
      Flag{snapshot_create, "atomic", kSnapshotAtomic},
      Flag{snapshot_create, "live", kSnapshotLive},
      Flag{snapshot_create, "validate", kSnapshotValidate},
      Flag{snapshot_delete, "children", kSnapshotDeleteChildren},
      Flag{snapshot_delete, "metadata-only", kSnapshotDeleteMetadataOnly},
      Flag{snapshot_delete, "children-only", kSnapshotDeleteChildrenOnly},
      Flag{snapshot_revert, "running", kSnapshotRevertRunning},
      Flag{snapshot_revert, "paused", kSnapshotRevertPaused},
      Flag{snapshot_revert, "force", kSnapshotRevertForce},
      Flag{snapshot_revert, "reset-nvram", kSnapshotRevertResetNvram},
      Flag{block_job_abort, "async", kAbortAsync},
      Flag{block_job_abort, "pivot", kAbortPivot},
      Flag{block_job_set_speed, "bandwidth-bytes", kSetSpeedBandwidthBytes},
  };
  std::uint32_t bits = 0;
  for (const std::string& name : call.flags)
    for (const Flag& flag : kFlags)
      if (flag.api == call.api && flag.name == name) bits |= flag.bit;
  return bits;
}

}  // namespace conformance
