#include "conformance/model/domain_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include "conformance/model/predictions.h"
#include "sim/base/bytes.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

constexpr std::uint32_t kNeedsCopy = kShallow | kReuseExt | kCopyRaw | kCopyDev;
constexpr std::uint32_t kKnownRebase = kNeedsCopy | kCopy | kRelative | kBandwidthBytes;

std::uint64_t sectors(std::uint64_t size) { return sim::div_up(size, 512); }

}  // namespace

// One block_rebase on its way through libvirt's checks.
struct DomainModel::Request {
  Disk& disk;
  std::string path;  // as given
  std::string file;  // its name in the directory; empty if it is in a directory that is missing
  std::uint64_t speed = 0;  // bytes/s
  bool shallow = false;     // and there is something below
  bool reuse = false;
  bool raw = false;
  bool device = false;
  const File* existing = nullptr;

  // Of the destination; an existing file's is probed.
  Format format = Format::raw;
};

void DomainModel::add_image(const ImageSpec& spec) {
  CHECK(!files_.contains(spec.name), "two images of one name");
  File file{.layer = Layer(spec.format, spec.size, spec.cluster_size, spec.version),
            .backing = spec.backing,
            .backing_string = {},
            .backing_format = {},
            .host_length = spec.host_length,
            .unchanged = true,
            .may_leak = false};
  if (!spec.backing.empty()) {
    CHECK(files_.contains(spec.backing), "the backing image must be added first");
    file.backing_string = spec.backing_string.empty() ? path(spec.backing) : spec.backing_string;
    file.backing_format = name_of(files_.at(spec.backing).layer.format());
  }
  files_.emplace(spec.name, std::move(file));
}

void DomainModel::fill(const std::string& image, std::uint64_t offset, std::uint64_t length,
                       std::uint8_t pattern) {
  File& file = files_.at(image);
  write(file.layer, layers_of(header_chain(file.backing)), offset, length, pattern);
}
void DomainModel::fill_zeroes(const std::string& image, std::uint64_t offset,
                              std::uint64_t length) {
  File& file = files_.at(image);
  write_zeroes(file.layer, layers_of(header_chain(file.backing)), offset, length);
}
void DomainModel::fill_discard(const std::string& image, std::uint64_t offset,
                               std::uint64_t length) {
  File& file = files_.at(image);
  discard(file.layer, layers_of(header_chain(file.backing)), offset, length);
}

void DomainModel::add_disk(const std::string& target, const std::string& image,
                           bool discard_unmap) {
  Disk disk;
  disk.target = target;
  disk.discard_unmap = discard_unmap;
  append_chain(disk.links, image, next_index_);
  next_index_ += static_cast<unsigned>(disk.links.size());
  CHECK(!disk.links.empty(), "no such image");
  disks_.push_back(std::move(disk));
}

// --- libvirt's calls --------------------------------------------------------------------------

// The order of the checks is libvirt's, and behaviour.
CallPrediction DomainModel::block_rebase(const std::string& disk_name,
                                         const std::optional<std::string>& base,
                                         std::uint64_t bandwidth, std::uint32_t flags) {
  if ((flags & kCopy) == 0 && (flags & kNeedsCopy) != 0)
    return refused("DOMAIN", "INVALID_ARG", "use of flags requires a copy job");
  if ((flags & kCopy) != 0 && !base)
    return refused("DOMAIN", "INVALID_ARG", "base in virDomainBlockRebase must not be NULL");
  const std::uint32_t known = kKnownRebase | (as_proposed_ ? std::uint32_t{kBaseXml} : 0U);
  if (const std::uint32_t strange = flags & ~known)
    return unsupported_flags(strange, "qemuDomainBlockRebase");
  if ((flags & kBaseXml) != 0)
    return refused(
        "QEMU", "INVALID_ARG",
        base ? "flag VIR_DOMAIN_BLOCK_REBASE_BASE_XML is not valid for a copy: use blockCopy"
             : "flag VIR_DOMAIN_BLOCK_REBASE_BASE_XML is valid only with non-null base");
  if ((flags & kCopy) == 0) return rebase(disk_name, base, bandwidth, flags);
  const bool bytes = (flags & kBandwidthBytes) != 0;
  if (!bytes && bandwidth > kMostMebibytes) return too_many_mebibytes();
  if ((flags & kRelative) != 0)
    return refused("QEMU", "ARGUMENT_UNSUPPORTED",
                   "Relative backing during copy not supported yet");
  if (!base->starts_with('/'))
    return refused("QEMU", "INVALID_ARG", "absolute path must be used as block copy target");
  const std::uint64_t speed = bytes ? bandwidth : bandwidth << 20;
  if (speed > kSignedMax)
    return refused("QEMU", "INVALID_ARG",
                   fmt::format("bandwidth must be less than '{}' bytes/s ({} MiB/s)", kSignedMax,
                               kMostMebibytes));
  Disk* found = find(disk_name);
  if (found == nullptr) return disk_not_found(disk_name);
  if (found->job) return busy(found->target, found->job->mirrors());

  const std::string prefix = directory_ + "/";
  if (!base->starts_with(prefix) || base->contains("//") || base->contains("/.") ||
      base->ends_with('/'))
    return no_opinion("the destination is not plainly beneath the directory");
  Request request{.disk = *found,
                  .path = *base,
                  .file = base->substr(prefix.size()),
                  .speed = speed,
                  .shallow = (flags & kShallow) != 0 && found->links.size() > 1,
                  .reuse = (flags & kReuseExt) != 0,
                  .raw = (flags & kCopyRaw) != 0,
                  .device = (flags & kCopyDev) != 0};
  if (request.file.contains('/')) {
    if (files_.contains(request.file.substr(0, request.file.find('/'))))
      return no_opinion("the destination is beneath a file");
    request.file.clear();
  }
  const auto existing = files_.find(request.file);
  if (existing != files_.end()) request.existing = &existing->second;
  request.format = files_.at(found->links.front().file).layer.format();
  if (request.reuse && request.existing) request.format = request.existing->layer.format();
  if (request.raw) request.format = Format::raw;

  if (auto refusal = check_destination(request)) {
    CallPrediction prediction;
    prediction.refusal = std::move(refusal);
    return prediction;
  }
  if (auto why = without_opinion(request)) return no_opinion(*std::move(why));
  return start_copy(request);
}

std::optional<Refusal> DomainModel::check_destination(const Request& request) const {
  const std::string& target = request.disk.target;
  if (request.shallow && request.raw && !request.reuse)
    return Refusal{
        "QEMU", "CONFIG_UNSUPPORTED",
        fmt::format("shallow copy of disk '{}' into a raw file is not possible", target)};
  if (request.existing == nullptr) {
    if (request.reuse || request.device)
      return Refusal{"QEMU", "SYSTEM_ERROR",
                     fmt::format("missing destination file for disk {}: {}: No such file or "
                                 "directory",
                                 target, request.path)};
    return std::nullopt;
  }
  const bool empty =
      request.existing->layer.format() == Format::raw && request.existing->layer.size() == 0;
  if (!empty && !request.reuse)
    return Refusal{"QEMU", "CONFIG_UNSUPPORTED",
                   fmt::format("external destination file for disk {} already exists and is not a "
                               "block device: {}",
                               target, request.path)};
  if (request.device)
    return Refusal{"QEMU", "INVALID_ARG",
                   fmt::format("blockdev flag requested for disk {}, but file '{}' is not a block "
                               "device",
                               target, request.path)};
  return as_proposed_ && request.reuse ? check_as_proposed(request) : std::nullopt;
}

// A reused destination as proposed (docs/model.md, 1.7).  blockRebase can name but one format.
std::optional<Refusal> DomainModel::check_as_proposed(const Request& request) const {
  const std::string& target = request.disk.target;
  if (!request.raw)
    return Refusal{"QEMU", "CONFIG_UNSUPPORTED",
                   fmt::format("format of the reused destination of disk '{}' must be named, it is "
                               "not probed: {}",
                               target, request.path)};
  if (request.shallow) return std::nullopt;
  // A qcow2 file has bytes: its header.
  const Layer& layer = request.existing->layer;
  const bool empty =
      layer.format() == Format::raw && std::ranges::all_of(view({&layer}), [](const ViewRun& run) {
        return run.pattern() == std::optional<std::uint8_t>(0);
      });
  if (empty) return std::nullopt;
  return Refusal{
      "QEMU", "CONFIG_UNSUPPORTED",
      fmt::format("reused destination of disk '{}' is not empty: {}", target, request.path)};
}

std::optional<std::string> DomainModel::without_opinion(const Request& request) const {
  const std::uint64_t size = files_.at(request.disk.links.front().file).layer.size();
  if (size % 512 != 0) return "the disk is not a whole number of sectors";
  if (request.shallow && !allocation_is_known(files_.at(request.disk.links.front().file).layer))
    return "what a shallow copy takes depends on where an interrupted job had come to";
  if (request.existing == nullptr || opened(request.file)) return std::nullopt;
  const File& file = *request.existing;
  if (file.layer.format() == Format::raw && file.layer.size() != size &&
      sectors(file.layer.size()) * 512 == size)
    return "the last sector of the destination is not whole";
  const bool container = request.raw && file.layer.format() == Format::qcow2;
  if (container && file.host_length && sectors(*file.host_length) * 512 == size)
    return "a qcow2 file of just the disk's size would be overwritten as a raw one";
  if (request.reuse && request.shallow && request.format == Format::qcow2)
    for (const std::string& below : header_chain(file.backing))
      for (const Disk& disk : disks_)
        if (below == disk.links.front().file || (disk.job && disk.job->destination == below))
          return "the destination's backing chain has a file that is being written";
  return std::nullopt;
}

// A destination that libvirt makes.
Layer DomainModel::created(const Request& request) const {
  const Layer& top = files_.at(request.disk.links.front().file).layer;
  return {request.format, top.size(), top.format() == Format::qcow2 ? top.cluster_size() : 65536};
}

std::string DomainModel::new_job_id(const Disk& it) {
  return fmt::format("copy-{}-libvirt-{}-format", it.target, it.links.front().index);
}

// A qcow2 node takes the lock when it is opened, a raw one when the job begins to write to it.
CallPrediction DomainModel::refuse_locked(const Request& request) {
  const bool at_the_job = request.format == Format::raw;
  if (at_the_job) {
    request.disk.job_id = new_job_id(request.disk);
    request.disk.pass({"created", "null"});
  }
  // The destination of another copy shares not even reading, nor does what a commit goes through.
  const bool is_unreadable = std::ranges::any_of(disks_, [&](const Disk& it) {
    if (!it.job || it.job->kind == JobKind::pull) return false;
    if (it.job->kind == JobKind::copy) return it.job->destination == request.file;
    for (std::size_t i = std::max<std::size_t>(it.job->first, 1); i < it.job->base; ++i)
      if (it.links[i].file == request.file) return true;
    return false;
  });
  return refused("QEMU", "INTERNAL_ERROR",
                 fmt::format("unable to execute QEMU command '{}': Failed to get \"{}\" lock",
                             at_the_job ? "blockdev-mirror" : "blockdev-add",
                             is_unreadable && !at_the_job ? "consistent read" : "write"));
}

CallPrediction DomainModel::start_copy(const Request& request) {
  Disk& disk = request.disk;
  const unsigned index = next_index_++;
  CallPrediction prediction;
  if (request.file.empty())
    return refused("QEMU", "SYSTEM_ERROR",
                   "failed to create copy target: No such file or directory");
  const bool follows = request.reuse && request.shallow && request.format == Format::qcow2;
  if (follows)  // libvirt numbers the layers that the destination's header names
    next_index_ += static_cast<unsigned>(header_chain(request.existing->backing).size());
  if (opened(request.file)) return refuse_locked(request);

  disk.job_id = new_job_id(disk);
  disk.pass({"created", "running"});
  const LayerChain source = live_chain(disk);
  std::uint64_t copy_size = request.reuse ? request.existing->layer.size() : source.front()->size();
  if (request.reuse && request.raw && request.existing->layer.format() == Format::qcow2)
    copy_size = request.existing->host_length.value_or(~std::uint64_t{0});
  if (sectors(copy_size) != sectors(source.front()->size())) {
    prediction.course = Course::fails;
    prediction.job_error = "Source and target image have different sizes";
    disk.pass({"aborting", "concluded", "null"});
    emit(disk, JobKind::copy, "FAILED");
    return prediction;
  }

  if (!request.reuse) {
    File file{.layer = created(request),
              .backing = {},
              .backing_string = {},
              .backing_format = {},
              .host_length = {},
              .unchanged = false,
              .may_leak = false};
    if (request.shallow) {
      file.backing = disk.links[1].file;
      file.backing_string = path(file.backing);
      file.backing_format = name_of(files_.at(file.backing).layer.format());
    }
    files_.insert_or_assign(request.file, std::move(file));
  }
  File& copy = files_.at(request.file);
  copy.unchanged = false;
  Job job;
  job.destination = request.file;
  job.format = request.format;
  job.speed = request.speed;
  job.shallow = request.shallow;
  job.reuse = request.reuse;
  job.index = index;
  disk.job = std::move(job);
  disk.job->run = MirrorRun({.sync = request.shallow ? Sync::top : Sync::full,
                             .layers = 1,
                             .granularity = 0,
                             .header_backing = !copy.backing.empty()},
                            live_chain(disk), copy.layer, attached_to_copy(disk));
  wake_others(disk);
  const MirrorRun& run = disk.job->run;
  disk.job->course = course_at(request.speed, run.dirty_at_start());
  // Zeroes may be had for nothing, and then do not hold the job: where the destination unmaps, and
  // from 10.0 on where it reads as zero already.
  if (disk.job->course != Course::ready && (disk.discard_unmap || run.data_at_start() == 0))
    disk.job->course =
        run.data_at_start() == 0 ? Course::limited : course_at(request.speed, run.data_at_start());
  prediction.course = disk.job->course;
  return prediction;
}

CallPrediction DomainModel::block_job_abort(const std::string& disk_name, std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~(kAsync | kPivot))
    return unsupported_flags(strange, "qemuDomainBlockJobAbort");
  Disk* disk = find(disk_name);
  if (disk == nullptr) return disk_not_found(disk_name);
  if (!disk->job) return no_job(disk->target);
  if ((flags & kPivot) != 0 && !disk->job->ready)
    return refused("QEMU", "BLOCK_COPY_ACTIVE",
                   fmt::format("block job '{}' not ready for pivot yet", disk->job_id));
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
  change(active.layer, below);
  active.unchanged = false;
  if (!it.job) return;
  if (it.job->kind == JobKind::pull) change(it.job->finished, below);
  if (!it.job->mirrors()) return;
  it.job->run.source_changed(chain, attached_to_copy(it), offset, length);
  if (!it.job->ready) it.job->disturbed = true;
}

void DomainModel::guest_write(const std::string& target, std::uint64_t offset, std::uint64_t length,
                              std::uint8_t pattern) {
  guest(target, offset, length,
        [&](Layer& top, const LayerChain& below) { write(top, below, offset, length, pattern); });
}
void DomainModel::guest_zero(const std::string& target, std::uint64_t offset,
                             std::uint64_t length) {
  guest(target, offset, length,
        [&](Layer& top, const LayerChain& below) { write_zeroes(top, below, offset, length); });
}
void DomainModel::guest_discard(const std::string& target, std::uint64_t offset,
                                std::uint64_t length) {
  // The node ignores it unless it was told to unmap, and the filter of a running copy, which
  // was not, ignores it anyway (measured, 7.2).
  if (!disk(target).discard_unmap || disk(target).job) return;
  guest(target, offset, length,
        [&](Layer& top, const LayerChain& below) { discard(top, below, offset, length); });
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
  std::vector<Link> links{{job.destination, job.index, {}}};
  bool terminated = true;
  if (job.shallow && !job.reuse) {
    links.insert(links.end(), it.links.begin() + 1, it.links.end());
    terminated = it.terminated;
  } else if (job.shallow) {
    // The chain is what the destination's header says; a raw file has none, and libvirt leaves
    // the end of its chain open.
    terminated = job.format == Format::qcow2;
    if (terminated) {
      links.clear();
      append_chain(links, job.destination, job.index);
    }
  }
  it.links = std::move(links);
  it.terminated = terminated;
}

void DomainModel::emit(const Disk& it, JobKind kind, const std::string& status) {
  constexpr const char* kTypes[] = {"COPY", "PULL", "COMMIT", "ACTIVE_COMMIT"};
  events_.push_back({.disk = it.target,
                     .path = path(it.links.front().file),
                     .type = kTypes[std::to_underlying(kind)],
                     .status = status});
}

}  // namespace conformance::model
