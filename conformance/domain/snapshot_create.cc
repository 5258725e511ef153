// virDomainSnapshotCreateXML: its checks in libvirt's order, and snapshots within images.

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/reply.h"
#include "conformance/domain/snapshot_errors.h"
#include "conformance/domain/xml/domain_xml.h"

namespace conformance {

namespace {

constexpr std::uint32_t kSupported =
    kSnapshotRedefine | kSnapshotCurrent | kSnapshotNoMetadata | kSnapshotHalt | kSnapshotDiskOnly |
    kSnapshotReuseExt | kSnapshotQuiesce | kSnapshotAtomic | kSnapshotLive | kSnapshotValidate;

struct FlagName {
  std::uint32_t flag;
  const char* name;
};
std::string spelled(std::uint32_t flag) {
  constexpr std::array<FlagName, 6> kNames = {{{kSnapshotRedefine, "REDEFINE"},
                                               {kSnapshotCurrent, "CURRENT"},
                                               {kSnapshotNoMetadata, "NO_METADATA"},
                                               {kSnapshotHalt, "HALT"},
                                               {kSnapshotDiskOnly, "DISK_ONLY"},
                                               {kSnapshotQuiesce, "QUIESCE"}}};
  for (const FlagName& known : kNames)
    if (known.flag == flag) return std::string("VIR_DOMAIN_SNAPSHOT_CREATE_") + known.name;
  return "VIR_DOMAIN_SNAPSHOT_CREATE_LIVE";
}

DomainResult<void> check_flags(std::uint32_t flags) {
  const auto has = [flags](std::uint32_t flag) { return (flags & flag) != 0; };
  const auto excludes = [](std::string_view who, std::uint32_t one, std::uint32_t other) {
    return errors::flags_exclude(who, spelled(one), spelled(other));
  };
  // The public API's checks come before the driver's.
  if (has(kSnapshotCurrent) && !has(kSnapshotRedefine))
    return errors::flag_requires("DOMAIN_SNAPSHOT", spelled(kSnapshotCurrent),
                                 spelled(kSnapshotRedefine));
  for (const std::uint32_t other : {kSnapshotNoMetadata, kSnapshotHalt})
    if (has(kSnapshotRedefine) && has(other))
      return excludes("DOMAIN_SNAPSHOT", kSnapshotRedefine, other);
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuSnapshotCreateXML");
  if (has(kSnapshotQuiesce) && !has(kSnapshotDiskOnly))
    return errors::flag_requires("QEMU", spelled(kSnapshotQuiesce), spelled(kSnapshotDiskOnly));
  if (has(kSnapshotLive) && has(kSnapshotRedefine))
    return excludes("QEMU", kSnapshotLive, kSnapshotRedefine);
  return {};
}

SnapshotMode mode_of(const std::string& word) {
  for (const SnapshotMode mode :
       {SnapshotMode::none, SnapshotMode::internal, SnapshotMode::external, SnapshotMode::manual})
    if (name_of(mode) == word) return mode;
  return SnapshotMode::none;
}

// What a snapshot of "snap2.s1" called "s2" makes active: "snap2.s2".
std::string generated_name(const std::string& source, const std::string& snapshot) {
  const std::size_t dot = source.rfind('.');
  const std::size_t slash = source.rfind('/');
  const bool has_suffix = dot != std::string::npos && (slash == std::string::npos || dot > slash);
  return (has_suffix ? source.substr(0, dot) : source) + "." + snapshot;
}

}  // namespace

DomainResult<std::string> Domain::snapshot_create_xml(const std::string& text,
                                                      std::uint32_t flags) {
  const auto has = [flags](std::uint32_t flag) { return (flags & flag) != 0; };
  const auto fail = [](auto&& result) { return std::unexpected(std::move(result).error()); };
  if (auto fit = check_flags(flags); !fit) return fail(fit);
  if (auto taken = take_events(); !taken) return fail(taken);
  if (!persistent_ && has(kSnapshotHalt)) return errors::halt_of_transient();
  auto request =
      xml::parse_domain_snapshot(text, has(kSnapshotRedefine)   ? xml::SnapshotUse::redefined
                                       : has(kSnapshotDiskOnly) ? xml::SnapshotUse::disks_alone
                                                                : xml::SnapshotUse::requested);
  if (!request) return fail(request);
  if (request->name.empty()) request->name = std::to_string(now_ ? now_() : 0);
  if (request->name.find('/') != std::string::npos)
    return errors::bad_snapshot_name(request->name, "contain '/'");
  if (request->name.starts_with('.'))
    return errors::bad_snapshot_name(request->name, "start with '.'");
  if (has(kSnapshotRedefine)) {
    if (auto done = redefine(*request, flags); !done) return fail(done);
    return request->name;
  }
  auto snapshot = plan_snapshot(*request, flags);
  if (!snapshot) return fail(snapshot);
  if (snapshots_.find(snapshot->name) != nullptr) return errors::snapshot_exists(snapshot->name);
  if (has(kSnapshotHalt)) return errors::not_in_this_version("ending the domain with a snapshot");
  if (snapshot->memory == SnapshotMode::external)
    return errors::not_in_this_version("a snapshot's memory in a file");
  if (!has(kSnapshotNoMetadata)) making_ = *snapshot;
  save();
  auto taken = snapshot->memory == SnapshotMode::internal ? save_state(*snapshot)
                                                          : make_overlays(*snapshot, flags);
  if (taken && making_) {
    snapshots_.add(*making_);
    snapshots_.set_current(making_->name);
  }
  // Of a hypervisor that does not answer nobody knows whether it is done.
  if (taken || std::holds_alternative<DomainError>(taken.error())) {
    making_.reset();
    save();
  }
  if (!taken) return fail(taken);
  return snapshot->name;
}

DomainResult<Snapshot> Domain::plan_snapshot(const xml::SnapshotXml& request, std::uint32_t flags) {
  Snapshot snapshot{.name = request.name, .description = request.description};
  if (snapshots_.current() != nullptr) snapshot.parent = snapshots_.current()->name;
  snapshot.creation_time = now_ ? now_() : 0;
  const std::string wanted = request.memory ? request.memory->snapshot : std::string();
  const bool disk_only = (flags & kSnapshotDiskOnly) != 0;
  if ((flags & kSnapshotLive) != 0 && wanted != "external") return errors::live_needs_memory();
  if (!disk_only && wanted == "no") return errors::memory_left_out();
  snapshot.memory = disk_only              ? SnapshotMode::none
                    : wanted == "external" ? SnapshotMode::external
                                           : SnapshotMode::internal;
  snapshot.state = disk_only ? "disk-snapshot" : running_ ? "running" : "paused";

  std::map<std::string, const xml::SnapshotDisk*> named;
  static const std::vector<xml::SnapshotDisk> kNone;
  if (request.disks && request.disks->size() > disks_.size()) return errors::too_many_disks();
  for (const xml::SnapshotDisk& disk : request.disks ? *request.disks : kNone) {
    auto found = find(disk.name);
    if (!found) return errors::no_disk_named(disk.name);
    const std::string& target = (*found)->target;
    if (!named.emplace(target, &disk).second) return errors::disk_twice(disk.name);
    if (snapshot.memory == SnapshotMode::internal && !disk.snapshot.empty() &&
        disk.snapshot != "internal")
      return errors::must_be_internal(target);
  }
  for (const Disk& disk : disks_) {
    const auto request_of = named.find(disk.target);
    auto plan = plan_disk(disk, request_of == named.end() ? nullptr : request_of->second, snapshot);
    if (!plan) return std::unexpected(std::move(plan).error());
    snapshot.disks.push_back(*std::move(plan));
    snapshot.sources[disk.target] = {disk.source->path, disk.source->format};
  }
  bool any = snapshot.memory == SnapshotMode::external;
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    if (auto fit = check_disk(disks_[i], snapshot.disks[i], snapshot, flags); !fit)
      return std::unexpected(std::move(fit).error());
    const SnapshotMode mode = snapshot.disks[i].mode;
    any = any || mode == SnapshotMode::internal || mode == SnapshotMode::external;
    if (snapshot.memory == SnapshotMode::external && mode == SnapshotMode::internal)
      return errors::mixed_snapshot();
  }
  if (!any) return errors::nothing_selected();
  if ((flags & kSnapshotQuiesce) != 0) {
    if (!running_) return errors::not_running();
    return errors::no_agent();
  }
  return snapshot;
}

DomainResult<SnapshotDiskRecord> Domain::plan_disk(const Disk& disk,
                                                   const xml::SnapshotDisk* request,
                                                   const Snapshot& snapshot) {
  SnapshotDiskRecord plan{.target = disk.target};
  plan.mode = request != nullptr && !request->snapshot.empty() ? mode_of(request->snapshot)
              : snapshot.memory == SnapshotMode::internal      ? SnapshotMode::internal
                                                               : SnapshotMode::external;
  if (plan.mode != SnapshotMode::external) return plan;
  if (request != nullptr && request->source) {
    if (request->source->type == xml::StorageType::network)
      return errors::not_in_this_version("a snapshot on network storage");
    plan.path = request->source->path;
    plan.format = request->source->format;
  }
  if (plan.path.empty()) plan.path = generated_name(disk.source->path, snapshot.name);
  if (plan.format.empty()) plan.format = "qcow2";
  return plan;
}

DomainResult<void> Domain::check_disk(const Disk& disk, const SnapshotDiskRecord& plan,
                                      const Snapshot& snapshot, std::uint32_t flags) const {
  if (plan.mode == SnapshotMode::none) return {};
  if (disk.job) return errors::job_active(disk.target, disk.job->mirrors());
  if (plan.mode == SnapshotMode::manual) return {};
  if (plan.mode == SnapshotMode::internal) {
    if (snapshot.state == "disk-snapshot") return errors::must_be_external(disk.target);
    if (disk.source->format != "qcow2")
      return errors::no_internal_snapshots(disk.target, disk.source->format);
    return {};
  }
  if (plan.format != "qcow2" && plan.format != "qed")
    return errors::bad_overlay_format(disk.target, plan.format);
  if (plan.format == "qed") return errors::not_in_this_version("a snapshot in format qed");
  const auto size = files_.size(plan.path);
  const bool reuse = (flags & kSnapshotReuseExt) != 0;
  if (!size && reuse) return errors::overlay_missing(disk.target, plan.path);
  if (size && *size != 0 && !reuse) return errors::overlay_exists(disk.target, plan.path);
  return {};
}

// savevm keeps the machine and all of its images at one moment.
DomainResult<void> Domain::save_state(const Snapshot& snapshot) {
  const auto send = [this](std::string_view command) -> DomainResult<void> {
    auto sent = execute(command, nullptr);
    if (!sent) return std::unexpected(std::move(sent).error());
    return {};
  };
  if (auto asked = send("query-migrate"); !asked) return asked;
  const bool was_running = running_;
  if (was_running)
    if (auto stopped = send("stop"); !stopped) return stopped;
  auto said =
      execute("human-monitor-command", {{"command-line", "savevm \"" + snapshot.name + "\""}});
  if (was_running)
    if (auto resumed = send("cont"); !resumed) return resumed;
  if (!said) return std::unexpected(std::move(said).error());
  const std::string text = said->is_string() ? said->get<std::string>() : std::string();
  if (!text.empty()) return errors::snapshot_failed(text);
  return {};
}

DomainResult<void> Domain::redefine(const xml::SnapshotXml& request, std::uint32_t flags) {
  const std::string& name = request.name;
  if (request.parent == name) return errors::own_parent(name);
  if (!request.parent.empty()) {
    const Snapshot* above = snapshots_.find(request.parent);
    if (above == nullptr) return errors::no_parent(request.parent, name);
    for (; above != nullptr; above = snapshots_.find(above->parent))
      if (above->parent == name) return errors::parent_cycle(request.parent, name);
  }
  const auto is_offline = [](const std::string& state) {
    return state == "shutoff" || state == "disk-snapshot";
  };
  const Snapshot* before = snapshots_.find(name);
  if (before != nullptr && is_offline(before->state) != is_offline(request.state))
    return errors::changes_state(name);
  Snapshot snapshot{.name = name, .parent = request.parent, .description = request.description};
  snapshot.state = request.state;
  snapshot.creation_time = *request.creation_time;
  if (request.memory) snapshot.memory = mode_of(request.memory->snapshot);
  if (request.domain) {
    auto domain = xml::parse_domain(*request.domain, xml::Form::inactive);
    if (!domain) return std::unexpected(std::move(domain).error());
    for (const xml::DiskDevice& disk : domain->disks)
      snapshot.sources[disk.target] = {disk.source.path, disk.source.format};
  } else if (before != nullptr) {
    snapshot.sources = before->sources;
  } else {
    return errors::no_domain();
  }
  for (const xml::SnapshotDisk& disk : request.disks.value_or(std::vector<xml::SnapshotDisk>{})) {
    if (!snapshot.sources.contains(disk.name)) return errors::no_disk_named(disk.name);
    snapshot.disks.push_back({disk.name, mode_of(disk.snapshot),
                              disk.source ? disk.source->path : std::string(),
                              disk.source ? disk.source->format : std::string()});
  }
  snapshots_.put(std::move(snapshot));
  if ((flags & kSnapshotCurrent) != 0) snapshots_.set_current(name);
  save();
  return {};
}

}  // namespace conformance
