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
