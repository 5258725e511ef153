// virDomainBlockRebase: its checks in libvirt's order, and the start of a copy.

#include <utility>

#include "conformance/domain/chain.h"
#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/reply.h"

namespace conformance {

namespace {

constexpr std::uint32_t kNeedCopy =
    kRebaseShallow | kRebaseReuseExt | kRebaseCopyRaw | kRebaseCopyDev;
constexpr std::uint32_t kSupported =
    kNeedCopy | kRebaseCopy | kRebaseRelative | kRebaseBandwidthBytes;

bool is_target_failure(const DomainFailure& failure) {
  return std::holds_alternative<TargetFailure>(failure);
}

}  // namespace

DomainResult<void> Domain::block_rebase(const std::string& disk,
                                        const std::optional<std::string>& base,
                                        std::uint64_t bandwidth, std::uint32_t flags) {
  // The public API's checks come before the driver's.
  if ((flags & kRebaseCopy) != 0) {
    if (!base) return errors::null_argument("base", "virDomainBlockRebase");
  } else if ((flags & kNeedCopy) != 0) {
    return errors::flags_need_copy();
  }
  const std::uint32_t supported =
      kSupported | (dialect_ == Dialect::as_proposed ? std::uint32_t{kRebaseBaseXml} : 0U);
  if ((flags & ~supported) != 0)
    return errors::unsupported_flags(flags & ~supported, "qemuDomainBlockRebase");
  if ((flags & kRebaseBaseXml) != 0) {
    if (!base) return errors::document_without_base();
    if ((flags & kRebaseCopy) != 0) return errors::document_for_copy();
  }
  if ((flags & kRebaseCopy) == 0) return rebase(disk, base, bandwidth, flags);

  if ((flags & kRebaseBandwidthBytes) == 0) {
    if (bandwidth > errors::kMaxBandwidth >> 20) return errors::bandwidth_overflow();
    bandwidth <<= 20;
  }
  if ((flags & kRebaseRelative) != 0) return errors::relative_backing();
  if (!base->starts_with('/')) return errors::relative_target();
  if (bandwidth > errors::kMaxBandwidth) return errors::bandwidth_bytes_overflow();
  return copy(disk, {.path = *base,
                     .format = (flags & kRebaseCopyRaw) != 0 ? "raw" : "",
                     .speed = bandwidth,
                     .shallow = (flags & kRebaseShallow) != 0,
                     .reuse = (flags & kRebaseReuseExt) != 0,
                     .block_device = (flags & kRebaseCopyDev) != 0});
}

DomainResult<void> Domain::copy(const std::string& name, CopyRequest request) {
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  Disk& disk = **found;
  if (disk.job) return errors::job_active(disk.target, disk.job->mirrors());
  if (persistent_ && !request.transient_job) return errors::not_transient();

  // With nothing beneath, a shallow copy is a full one.
  if (disk.source->backing != Backing::known) request.shallow = false;
  if (!request.shallow && request.backing.source() != nullptr)
    return errors::backing_without_shallow();
  if (request.shallow && !request.reuse && request.format == "raw")
    return errors::shallow_into_raw(disk.target);
  if (request.volume) return errors::not_translated(request.volume->pool, request.volume->name);
  if (auto fit = check_destination(disk, request); !fit) return fit;
  if (dialect_ == Dialect::as_proposed && request.reuse)
    if (auto fit = check_as_proposed(disk, request); !fit) return fit;

  if (request.format.empty() && !request.reuse) request.format = disk.source->format;
  if (request.format.empty()) {
    auto probed = probe_format(files_, request.path);
    if (!probed) return std::unexpected(std::move(probed).error());
    request.format = *std::move(probed);
  }
  auto started = start_copy(disk, request);
  if (started) return {};
  if (is_target_failure(started.error())) return started;
  // libvirt unlinks what it created or was given empty.
  const bool is_removed = !request.reuse && disk.job;
  disk.job.reset();
  give_back(disk);
  if (is_removed) static_cast<void>(files_.remove(request.path).ok());
  save();
  return started;
}

DomainResult<void> Domain::check_destination(const Disk& disk, const CopyRequest& request) const {
  const auto size = files_.size(request.path);
  if (!size) {
    if (request.reuse || request.block_device)
      return errors::destination_missing(disk.target, request.path);
    return {};
  }
  if (*size != 0 && !request.reuse) return errors::destination_exists(disk.target, request.path);
  // Files has regular files only.
  if (request.block_device) return errors::not_a_block_device(disk.target, request.path);
  return {};
}

DomainResult<void> Domain::start_copy(Disk& disk, const CopyRequest& request) {
  const unsigned first_index = next_index_;
  auto mirror = std::make_unique<Source>();
  const bool by_drive = recipe_ == CopyRecipe::drive;
  mirror->path = request.path;
  mirror->format = request.format;
  number(*mirror);
  auto found = by_drive ? find_beneath_drive(request, *mirror) : find_beneath(request, *mirror);
  if (!found) return found;

  Job job;
  // The device's name of old: QEMU calls a job so that is given no other name.
  job.id = by_drive ? "drive-" + disk.alias : "copy-" + disk.target + "-" + disk.source->own_node();
  job.shallow = request.shallow;
  job.reuse = request.reuse;
  job.mirror = std::move(mirror);
  disk.job = std::move(job);
  if (auto taken = take_leases(disk); !taken) {
    disk.job.reset();
    next_index_ = first_index;
    return taken;
  }
  save();
  auto begun = begin_copy(disk, request);
  if (!begun) return begun;
  disk.job->state = JobState::running;
  save();
  return {};
}

// What will lie beneath the mirror, if that is not what lies beneath the disk's image.
DomainResult<void> Domain::find_beneath(const CopyRequest& request, Source& mirror) {
  using Knowledge = xml::Backing::Knowledge;
  if (!request.shallow) {
    mirror.backing = Backing::terminated;
    return {};
  }
  const Knowledge given = request.backing.knowledge();
  // The chain of one that is reused is opened at the pivot only, but found and numbered now.
  if (given == Knowledge::known || (request.reuse && given == Knowledge::terminated)) {
    if (auto taken = take_backing(request.backing, mirror); !taken) return taken;
  } else if (request.reuse && can_have_backing(request.format)) {
    auto read = read_chain(files_, mirror.path, mirror.format);
    if (!read) return std::unexpected(std::move(read).error());
    mirror.backing = (*read)->backing;
    mirror.beneath = std::move((*read)->beneath);
  }
  if (mirror.beneath) number(*mirror.beneath);
  return {};
}

DomainResult<void> Domain::begin_copy(Disk& disk, const CopyRequest& request) {
  if (!request.reuse) {
    if (auto created = files_.create(request.path, 0); !created) {
      disk.job.reset();  // there is nothing to remove
      return errors::cannot_create(created.error().desc);
    }
  }
  if (auto raised = raise_labels(disk); !raised) return raised;
  return recipe_ == CopyRecipe::drive ? mirror_to_file(disk, request)
                                      : mirror_to_node(disk, request);
}

DomainResult<void> Domain::mirror_to_node(Disk& disk, const CopyRequest& request) {
  Source& mirror = *disk.job->mirror;
  auto opened = request.reuse ? open_image(mirror) : create_image(disk, request, mirror);
  if (!opened) return opened;
  Json arguments = {{"job-id", disk.job->id},         {"device", disk.source->format_node()},
                    {"target", mirror.format_node()}, {"sync", request.shallow ? "top" : "full"},
                    {"auto-finalize", true},          {"auto-dismiss", false}};
  add_mirror_options(request, arguments);
  if (auto mirroring = execute("blockdev-mirror", arguments); !mirroring) {
    if (!is_target_failure(mirroring.error()))
      if (auto undone = detach_chain(mirror); !undone) return undone;
    return std::unexpected(std::move(mirroring).error());
  }
  return {};
}

void Domain::add_mirror_options(const CopyRequest& request, Json& arguments) {
  if (request.speed != 0) arguments["speed"] = request.speed;
  // libvirt hands both on as signed numbers.
  if (request.granularity != 0)
    arguments["granularity"] = static_cast<std::int32_t>(request.granularity);
  if (request.buffer != 0) arguments["buf-size"] = static_cast<std::int64_t>(request.buffer);
  if (request.write_blocking) arguments["copy-mode"] = "write-blocking";
}

DomainResult<void> Domain::open_image(Source& mirror) {
  auto opened = attach_storage(mirror);
  if (opened) opened = attach_format(mirror, nullptr, false);
  if (!opened && !is_target_failure(opened.error()))
    if (auto undone = detach(mirror); !undone) return undone;
  return opened;
}

DomainResult<void> Domain::create_image(const Disk& disk, const CopyRequest& request,
                                        Source& mirror) {
  auto sizes = sizes_of(*disk.source);
  if (!sizes) return std::unexpected(std::move(sizes).error());
  const Source* beneath = request.shallow ? disk.source->beneath.get() : nullptr;
  if (mirror.beneath) {
    beneath = mirror.beneath.get();
    if (auto attached = attach_chain(*mirror.beneath, true); !attached) {
      if (!is_target_failure(attached.error()))
        if (auto undone = detach_chain(*mirror.beneath); !undone) return undone;
      return attached;
    }
  }
  auto created = mirror.format == "raw" ? create_raw(*sizes, mirror)
                                        : create_qcow2(*disk.source, *sizes, beneath, mirror);
  if (created) created = attach_format(mirror, beneath, false);
  if (created || is_target_failure(created.error())) return created;
  // Two levels of libvirt undo the same, so QEMU is told twice.
  if (auto undone = detach(mirror); !undone) return undone;
  if (auto undone = detach_chain(mirror); !undone) return undone;
  return created;
}

DomainResult<void> Domain::create_raw(const Sizes& sizes, Source& mirror) {
  auto created =
      run_create_job("create-" + mirror.storage_node(),
                     {{"driver", "file"}, {"filename", mirror.path}, {"size", sizes.capacity}});
  if (!created) return created;
  return attach_storage(mirror);
}

DomainResult<void> Domain::create_qcow2(const Source& source, const Sizes& sizes,
                                        const Source* beneath, Source& mirror) {
  if (auto storage = attach_storage(mirror); !storage) return storage;
  Json options = {
      {"driver", mirror.format}, {"file", mirror.storage_node()}, {"size", sizes.capacity}};
  if (source.format == mirror.format && sizes.cluster != 0) options["cluster-size"] = sizes.cluster;
  if (beneath != nullptr) {
    options["backing-file"] = beneath->path;
    options["backing-fmt"] = beneath->format;
  }
  return run_create_job("create-" + mirror.format_node(), std::move(options));
}

DomainResult<Domain::Sizes> Domain::sizes_of(const Source& source) {
  auto nodes = execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return std::unexpected(std::move(nodes).error());
  return sizes_in(*nodes, source);
}

DomainResult<Domain::Sizes> Domain::sizes_in(const Json& nodes, const Source& source) {
  const std::string name = source.format_node();
  for (const Json& node : nodes) {
    if (!reply::is(node, "node-name", name)) continue;
    const Json& image = reply::member(node, "image");
    if (!reply::member(image, "virtual-size").is_number_integer()) break;
    return Sizes{.capacity = reply::number(image, "virtual-size"),
                 .cluster = reply::number(image, "cluster-size")};
  }
  return errors::no_capacity(name);
}

DomainResult<void> Domain::run_create_job(const std::string& id, Json options) {
  auto created = execute("blockdev-create", {{"job-id", id}, {"options", std::move(options)}});
  if (!created) return std::unexpected(std::move(created).error());
  create_job_ = id;
  while (!create_job_.empty())
    if (auto waited = wait_for_event("job " + id + " to conclude"); !waited) return waited;
  auto end = end_of(id);
  if (!end) return std::unexpected(std::move(end).error());
  if (auto gone = dismiss(id); !gone) return gone;
  if (end->failed) return errors::cannot_format(end->error);
  return {};
}

}  // namespace conformance
