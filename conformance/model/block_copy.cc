// Copies by virDomainBlockRebase and virDomainBlockCopy: libvirt's checks in their order, and the
// start.

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include "conformance/model/predictions.h"
#include "sim/base/bytes.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

constexpr std::uint32_t kNeedsCopy = kShallow | kReuseExt | kCopyRaw | kCopyDev;
constexpr std::uint32_t kKnownRebase = kNeedsCopy | kCopy | kRelative | kBandwidthBytes;
constexpr std::uint32_t kKnownCopy =
    kCopyShallow | kCopyReuseExt | kCopyTransientJob | kCopySynchronousWrites;

// QEMU's, of the granularity of a mirror, in bytes.
constexpr std::uint32_t kLeastGranularity = 512;
constexpr std::uint32_t kMostGranularity = 64U << 20;

std::uint64_t sectors(std::uint64_t size) { return sim::div_up(size, 512); }

CallPrediction too_many_bytes() {
  return refused("QEMU", "INVALID_ARG",
                 fmt::format("bandwidth must be less than '{}' bytes/s ({} MiB/s)", kSignedMax,
                             kMostMebibytes));
}
CallPrediction relative_target() {
  return refused("QEMU", "INVALID_ARG", "absolute path must be used as block copy target");
}
CallPrediction refused_by_qemu(std::string_view command, std::string_view why) {
  return refused("QEMU", "INTERNAL_ERROR",
                 fmt::format("unable to execute QEMU command '{}': {}", command, why));
}

}  // namespace

// One copy on its way through libvirt's checks.
struct DomainModel::Request {
  CopyDestination destination;
  std::uint64_t speed = 0;  // bytes/s
  bool shallow = false;     // once the disk is known: and there is something below
  bool reuse = false;
  bool transient_job = false;
  bool writes_through = false;
  std::uint32_t granularity = 0;  // 0: not given
  std::uint64_t buf_size = 0;
  bool by_drive = false;

  // Found on the way.
  Disk* disk = nullptr;
  std::string file =
      {};  // its name in the directory; empty if it is in a directory that is missing
  const File* existing = nullptr;
  Format format = Format::raw;  // of the destination; an existing file's is probed

  // The copy will lie on a chain of its own: what the document names, or the destination's header.
  bool has_own_chain() const {
    if (by_drive) return reuse;  // a full copy, too
    return shallow && (reuse || !destination.backing.empty());
  }
  const char* command() const { return by_drive ? "drive-mirror" : "blockdev-mirror"; }
};

void DomainModel::add_image(const ImageSpec& spec) {
  CHECK(!files_.contains(spec.name), "two images of one name");
  File file{.layer = Layer(spec.format, spec.size, spec.cluster_size, spec.version),
            .backing = spec.backing,
            .backing_string = {},
            .backing_format = {},
            .host_length = spec.host_length,
            .unchanged = true,
            .may_leak = false,
            .encrypted = spec.encrypted};
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
  append_chain(disk.links, image, 0);
  CHECK(!disk.links.empty(), "no such image");
  disks_.push_back(std::move(disk));
  // libvirt numbers from the last disk to the first, and what is beneath after all active images.
  next_index_ = 1;
  for (auto at = disks_.rbegin(); at != disks_.rend(); ++at)
    at->links.front().index = next_index_++;
  for (auto at = disks_.rbegin(); at != disks_.rend(); ++at)
    for (std::size_t i = 1; i < at->links.size(); ++i) at->links[i].index = next_index_++;
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
  if (!base->starts_with('/')) return relative_target();
  const std::uint64_t speed = bytes ? bandwidth : bandwidth << 20;
  if (speed > kSignedMax) return too_many_bytes();
  const bool raw = (flags & kCopyRaw) != 0;
  return copy(disk_name,
              {.destination = {.path = *base,
                               .is_device = (flags & kCopyDev) != 0,
                               .format = raw ? std::optional(Format::raw) : std::nullopt},
               .speed = speed,
               .shallow = (flags & kShallow) != 0,
               .reuse = (flags & kReuseExt) != 0});
}

CallPrediction DomainModel::block_copy(const std::string& disk_name,
                                       const CopyDestination& destination,
                                       const CopyParameters& parameters, std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~kKnownCopy)
    return unsupported_flags(strange, "qemuDomainBlockCopy");
  if (parameters.granularity != 0 && !std::has_single_bit(parameters.granularity))
    return refused("QEMU", "INVALID_ARG", "granularity must be power of 2");
  if (!destination.path.starts_with('/')) return relative_target();
  if (parameters.bandwidth > kSignedMax) return too_many_bytes();
  return copy(disk_name, {.destination = destination,
                          .speed = parameters.bandwidth,
                          .shallow = (flags & kCopyShallow) != 0,
                          .reuse = (flags & kCopyReuseExt) != 0,
                          .transient_job = (flags & kCopyTransientJob) != 0,
                          .writes_through = (flags & kCopySynchronousWrites) != 0,
                          .granularity = parameters.granularity,
                          .buf_size = parameters.buf_size});
}

CallPrediction DomainModel::copy(const std::string& disk_name, Request request) {
  request.by_drive = by_drive_;
  Disk* found = find(disk_name);
  if (found == nullptr) return disk_not_found(disk_name);
  if (found->job) return busy(found->target, found->job->mirrors());
  if (persistent_ && !request.transient_job)
    return refused("QEMU", "OPERATION_INVALID", "domain is not transient");
  request.disk = found;
  if (!found->hidden.empty()) return no_opinion("QEMU knows more of the chain than libvirt");
  if (found->links.size() == 1) request.shallow = false;
  if (!request.shallow && !request.destination.backing.empty())
    return refused(
        "QEMU", "INVALID_ARG",
        "backingStore of mirror without VIR_DOMAIN_BLOCK_COPY_SHALLOW doesn't make sense");

  const std::optional<std::string> name = name_in_directory(request.destination.path);
  if (!name) return no_opinion("the destination is not plainly beneath the directory");
  request.file = *name;
  if (request.file.contains('/')) {
    if (files_.contains(request.file.substr(0, request.file.find('/'))))
      return no_opinion("the destination is beneath a file");
    request.file.clear();
  }
  const auto existing = files_.find(request.file);
  if (existing != files_.end()) request.existing = &existing->second;
  request.format = files_.at(found->links.front().file).layer.format();
  if (request.reuse && request.existing) request.format = request.existing->layer.format();
  request.format = request.destination.format.value_or(request.format);

  if (auto refusal = check_destination(request)) {
    CallPrediction prediction;
    prediction.refusal = std::move(refusal);
    return prediction;
  }
  if (auto refusal = check_as_proposed(request)) return *std::move(refusal);
  if (request.by_drive && request.destination.says_backing())
    return no_opinion("libvirt said nothing of backing files when it sent drive-mirror");
  if (auto refusal = refuse_leased_copy(request)) return *std::move(refusal);
  if (auto why = without_opinion(request)) return no_opinion(*std::move(why));
  return start_copy(request);
}

// What a path names in the directory, unless it is spelled in a way that needs thought.
std::optional<std::string> DomainModel::name_in_directory(const std::string& path) const {
  const std::string prefix = directory_ + "/";
  if (!path.starts_with(prefix) || path.contains("//") || path.contains("/.") ||
      path.ends_with('/'))
    return std::nullopt;
  return path.substr(prefix.size());
}

std::optional<Refusal> DomainModel::check_destination(const Request& request) const {
  const std::string& target = request.disk->target;
  const CopyDestination& destination = request.destination;
  if (request.shallow && destination.format == Format::raw && !request.reuse)
    return Refusal{
        "QEMU", "CONFIG_UNSUPPORTED",
        fmt::format("shallow copy of disk '{}' into a raw file is not possible", target)};
  if (request.existing == nullptr) {
    if (request.reuse || destination.is_device)
      return Refusal{"QEMU", "SYSTEM_ERROR",
                     fmt::format("missing destination file for disk {}: {}: No such file or "
                                 "directory",
                                 target, destination.path)};
    return std::nullopt;
  }
  const bool empty =
      request.existing->layer.format() == Format::raw && request.existing->layer.size() == 0;
  if (!empty && !request.reuse)
    return Refusal{"QEMU", "CONFIG_UNSUPPORTED",
                   fmt::format("external destination file for disk {} already exists and is not a "
                               "block device: {}",
                               target, destination.path)};
  if (destination.is_device)
    return Refusal{"QEMU", "INVALID_ARG",
                   fmt::format("blockdev flag requested for disk {}, but file '{}' is not a block "
                               "device",
                               target, destination.path)};
  return std::nullopt;
}

// A reused destination as proposed (docs/model.md, 1.7).
std::optional<CallPrediction> DomainModel::check_as_proposed(const Request& request) const {
  if (!as_proposed_ || !request.reuse) return std::nullopt;
  const CopyDestination& destination = request.destination;
  if (!destination.format)
    return refused("QEMU", "CONFIG_UNSUPPORTED",
                   fmt::format("format of the reused destination of disk '{}' must be named, it is "
                               "not probed: {}",
                               request.disk->target, destination.path));
  const File& file = *request.existing;
  const bool is_raw = file.layer.format() == Format::raw;
  const bool named_raw = *destination.format == Format::raw;
  if (named_raw && request.shallow) return std::nullopt;
  if (!named_raw && is_raw) return std::nullopt;  // QEMU says that it is not qcow2
  if (opened(request.file) && !file.unchanged) return no_opinion("what is written back of it yet");
  bool may_hold = false;
  // Of a qcow2 file as a raw one the header is a byte that it holds.
  bool holds = named_raw ? !is_raw : !request.shallow && !file.backing_string.empty();
  for (const CellRun& run : file.layer.runs()) {
    const Cell& cell = run.cell;
    const bool may_be_empty = is_raw ? cell.zero || cell.data.test(0) : cell.absent;
    holds = holds || !may_be_empty;
    may_hold = may_hold || (is_raw ? (cell.data & ~value(0)).any() : cell != Cell::Absent());
  }
  if (!holds && may_hold) return no_opinion("it depends on where an interrupted job had come to");
  if (!holds) return std::nullopt;
  return refused("QEMU", "CONFIG_UNSUPPORTED",
                 fmt::format("reused destination of disk '{}' is not empty: {}",
                             request.disk->target, destination.path));
}

std::optional<std::string> DomainModel::without_opinion(const Request& request) const {
  const Layer& source = files_.at(request.disk->links.front().file).layer;
  const std::uint64_t size = source.size();
  if (size % 512 != 0) return "the disk is not a whole number of sectors";
  if (request.shallow && !allocation_is_known(source))
    return "what a shallow copy takes depends on where an interrupted job had come to";
  constexpr std::uint64_t kMuch = 64U << 20;
  if (request.buf_size > kMuch && request.buf_size <= kSignedMax)
    return "a large buffer may not be had";
  if (request.by_drive && request.shallow && !request.reuse && !headers_agree(*request.disk, 1))
    return "QEMU writes a json: name into the header where a header below says another than it has";
  if (!request.destination.backing.empty())
    if (auto why = strange_backing(request)) return why;
  if (request.existing == nullptr) return std::nullopt;
  const File& file = *request.existing;
  const bool is_qcow2 = file.layer.format() == Format::qcow2;
  if (opened(request.file) && request.by_drive)
    return "which lock drive-mirror misses was not measured";
  if (opened(request.file))
    return request.reuse && request.format != file.layer.format()
               ? std::optional<std::string>("a file in use is to be opened as what it is not")
               : std::nullopt;
  if (!is_qcow2 && file.layer.size() != size && sectors(file.layer.size()) * 512 == size)
    return "the last sector of the destination is not whole";
  if (request.reuse && request.format == Format::raw && is_qcow2 && file.host_length &&
      sectors(*file.host_length) * 512 == size)
    return "a qcow2 file of just the disk's size would be overwritten as a raw one";
  return request.has_own_chain() && is_qcow2 ? strange_backing(request) : std::nullopt;
}

// Each image from there down has beneath it what its header says, by the very name: else QEMU takes
// it to be overridden, and names the image by all that it was opened with (measured, 5.2 to 11.1:
// also where the header's name is relative).
bool DomainModel::headers_agree(const Disk& it, std::size_t from) const {
  for (std::size_t i = from; i < it.links.size(); ++i) {
    const File& file = files_.at(it.links[i].file);
    const std::string beneath = i + 1 < it.links.size() ? path(it.links[i + 1].file) : "";
    if (file.backing_string != beneath) return false;
  }
  return true;
}

// Of a destination that has a chain of its own.
std::optional<std::string> DomainModel::strange_backing(const Request& request) const {
  for (const CopyDestination::Layer& layer : request.destination.backing) {
    const auto name = name_in_directory(layer.path);
    const auto file = name ? files_.find(*name) : files_.end();
    if (file == files_.end()) return "the document names a backing file that is not there";
    if (file->second.layer.format() != layer.format)
      return "the document gives a backing file another format";
  }
  const Beneath beneath = beneath_destination(request, 0);
  std::vector<std::string> files = beneath.hidden;
  for (const Link& link : beneath.links) files.push_back(link.file);
  for (const std::string& file : files) {
    if (file == request.file) return "the destination lies beneath itself";
    // An active commit that was aborted leaves its base open for writing.
    if (opened(file) && !files_.at(file).unchanged)
      return "the destination's backing chain has a file that a job has written to";
    for (const Disk& it : disks_) {
      if (file == it.links.front().file || (it.job && it.job->destination == file))
        return "the destination's backing chain has a file that is being written";
      const bool commits = it.job && it.job->kind != JobKind::copy && it.job->kind != JobKind::pull;
      if (commits && std::ranges::find(it.links, file, &Link::file) != it.links.end())
        return "the destination's backing chain has a file of a chain that is being committed";
    }
  }
  return std::nullopt;
}

// Numbered from `index` on.  What the document says is believed, whatever the header says; where it
// leaves the end open libvirt does not look, but QEMU does (measured on libvirt 9.0).
DomainModel::Beneath DomainModel::beneath_destination(const Request& request,
                                                      unsigned index) const {
  const CopyDestination& destination = request.destination;
  Beneath beneath;
  for (const CopyDestination::Layer& layer : destination.backing)
    beneath.links.push_back({*name_in_directory(layer.path), index++, {}});
  if (destination.terminated) return beneath;
  if (!beneath.links.empty()) {
    beneath.terminated = false;
    beneath.hidden = header_chain(files_.at(beneath.links.back().file).backing);
    return beneath;
  }
  // A raw file has no chain, and libvirt leaves the end of it open.
  const bool can_have_backing = request.format == Format::qcow2;
  beneath.terminated = can_have_backing || request.by_drive;
  if (!can_have_backing) return beneath;
  append_chain(beneath.links, request.file, index - 1);
  beneath.links.erase(beneath.links.begin());
  return beneath;
}

// The destination is what it is said to be.
bool DomainModel::has_chain_of_its_own(const Request& request) {
  return request.has_own_chain() &&
         (!request.reuse || request.existing->layer.format() == request.format);
}

std::optional<CallPrediction> DomainModel::refuse_leased_copy(const Request& request) const {
  if (!others_ || request.file.empty()) return std::nullopt;
  Job job;
  job.destination = request.file;
  job.format = request.format;
  if (has_chain_of_its_own(request)) {
    if (auto why = strange_backing(request)) return no_opinion(*std::move(why));
    job.beneath = beneath_destination(request, 0);
    if (!job.beneath.hidden.empty())
      return no_opinion("nobody takes leases of what QEMU finds below a chain that is left open");
  }
  return refuse_leased(*request.disk, job);
}

// A destination that libvirt makes.
void DomainModel::make_destination(const Request& request) {
  const Layer& top = files_.at(request.disk->links.front().file).layer;
  // QEMU does not ask the source for its cluster size; libvirt does.
  const bool as_source = top.format() == Format::qcow2 && !request.by_drive;
  File file{.layer = Layer(request.format, top.size(), as_source ? top.cluster_size() : 65536),
            .backing = {},
            .backing_string = {},
            .backing_format = {},
            .host_length = {},
            .unchanged = false,
            .may_leak = false};
  if (request.shallow) {
    file.backing = request.has_own_chain()
                       ? *name_in_directory(request.destination.backing.front().path)
                       : request.disk->links[1].file;
    file.backing_string = path(file.backing);
    file.backing_format = name_of(files_.at(file.backing).layer.format());
  }
  files_.insert_or_assign(request.file, std::move(file));
}

std::string DomainModel::new_copy_id(const Disk& it) const {
  if (by_drive_) {
    const auto at =
        std::ranges::find_if(disks_, [&](const Disk& disk) { return disk.target == it.target; });
    return fmt::format("drive-virtio-disk{}", at - disks_.begin());
  }
  return fmt::format("copy-{}-libvirt-{}-format", it.target, it.links.front().index);
}

// What QEMU refuses before there is a job.  A file that libvirt made or was given empty is gone
// then.
std::optional<CallPrediction> DomainModel::refuse_to_open(const Request& request) {
  const bool is_open = opened(request.file);
  // A qcow2 node takes the lock when it is opened, a raw one when the job begins to write to it.
  if (is_open && request.format == Format::qcow2) return refuse_locked(request);
  if (request.reuse && request.format == Format::qcow2 &&
      request.existing->layer.format() == Format::raw)
    return refused_by_qemu(request.by_drive ? request.command() : "blockdev-add",
                           "Image is not in qcow2 format");
  std::optional<CallPrediction> refusal;
  // libvirt hands both on as signed numbers.
  if (request.granularity > std::uint32_t{std::numeric_limits<std::int32_t>::max()})
    refusal = refused_by_qemu(request.command(), "Parameter 'granularity' expects uint32_t");
  else if (request.granularity != 0 &&
           (request.granularity < kLeastGranularity || request.granularity > kMostGranularity))
    refusal = refused_by_qemu(request.command(),
                              "Parameter 'granularity' expects a value in range [512B, 64MB]");
  else if (request.buf_size > kSignedMax)
    refusal = refused_by_qemu(request.command(), "Invalid parameter 'buf-size'");
  else if (is_open)
    return refuse_locked(request);
  if (refusal && !request.reuse) files_.erase(request.file);
  return refusal;
}

CallPrediction DomainModel::refuse_locked(const Request& request) {
  const bool at_the_job = request.format == Format::raw;
  if (at_the_job) {
    request.disk->job_id = new_copy_id(*request.disk);
    request.disk->pass({"created", "null"});
  }
  // The destination of another copy shares not even reading, nor does what a commit goes through.
  const bool is_unreadable = std::ranges::any_of(disks_, [&](const Disk& it) {
    if (!it.job || it.job->kind == JobKind::pull) return false;
    if (it.job->kind == JobKind::copy) return it.job->destination == request.file;
    for (std::size_t i = std::max<std::size_t>(it.job->first, 1); i < it.job->base; ++i)
      if (it.links[i].file == request.file) return true;
    return false;
  });
  return refused_by_qemu(at_the_job ? "blockdev-mirror" : "blockdev-add",
                         fmt::format("Failed to get \"{}\" lock",
                                     is_unreadable && !at_the_job ? "consistent read" : "write"));
}

CallPrediction DomainModel::start_copy(const Request& request) {
  Disk& disk = *request.disk;
  Job job;
  job.index = next_index_++;
  if (request.file.empty())
    return refused("QEMU", "SYSTEM_ERROR",
                   "failed to create copy target: No such file or directory");
  if (has_chain_of_its_own(request)) {
    job.beneath = beneath_destination(request, next_index_);
    next_index_ += static_cast<unsigned>(job.beneath.links.size());
  }
  if (auto refusal = refuse_to_open(request)) return *std::move(refusal);

  CallPrediction prediction;
  disk.job_id = new_copy_id(disk);
  disk.pass({"created", "running"});
  const LayerChain source = live_chain(disk);
  std::uint64_t copy_size = request.reuse ? request.existing->layer.size() : source.front()->size();
  if (request.reuse && request.format == Format::raw &&
      request.existing->layer.format() == Format::qcow2)
    copy_size = request.existing->host_length.value_or(~std::uint64_t{0});
  if (sectors(copy_size) != sectors(source.front()->size())) {
    prediction.course = Course::fails;
    prediction.job_error = "Source and target image have different sizes";
    disk.pass({"aborting", "concluded", "null"});
    emit(disk, JobKind::copy, "FAILED");
    return prediction;
  }

  if (!request.reuse) make_destination(request);
  File& copy = files_.at(request.file);
  copy.unchanged = false;
  job.destination = request.file;
  job.format = request.format;
  job.speed = request.speed;
  job.writes_through = request.writes_through;
  job.keeps_beneath = request.shallow && !request.has_own_chain();
  job.attached = request.has_own_chain() && !request.reuse;
  job.is_alone = request.by_drive;
  disk.job = std::move(job);
  disk.job->run = MirrorRun({.sync = request.shallow ? Sync::top : Sync::full,
                             .layers = 1,
                             .granularity = request.granularity,
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

}  // namespace conformance::model
