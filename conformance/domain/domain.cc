#include "conformance/domain/domain.h"

#include <utility>

#include "conformance/domain/chain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/reply.h"
#include "sim/base/base64.h"

namespace conformance {

DomainResult<std::unique_ptr<Domain>> Domain::start(Hypervisor& hypervisor, Files& files,
                                                    const DomainDefinition& definition) {
  std::unique_ptr<Domain> domain(new Domain(hypervisor, files));
  domain->dialect_ = definition.dialect;
  domain->persistent_ = definition.persistent;
  domain->recipe_ = definition.recipe;
  domain->keep_status_ = definition.keep_status;
  domain->restart_ = definition.restart;
  domain->now_ = definition.now;
  domain->name_ = definition.name;
  domain->locks_ = definition.locks;
  domain->labels_ = definition.labels;
  if (auto added = domain->add_disks(definition.disks); !added) {
    domain->stopped();
    return std::unexpected(std::move(added).error());
  }
  domain->save();
  return domain;
}

DomainResult<void> Domain::add_disks(const std::vector<DiskDefinition>& definitions) {
  for (const DiskDefinition& definition : definitions) {
    auto top = read_chain(files_, definition.path, definition.format);
    if (!top) return std::unexpected(std::move(top).error());
    Disk& disk = disks_.emplace_back();
    disk.target = definition.target;
    disk.alias = "virtio-disk" + std::to_string(disks_.size() - 1);
    disk.source = *std::move(top);
    for (Source* image = disk.source.get(); image != nullptr; image = image->beneath.get())
      if (const auto it = definition.passphrases.find(image->path);
          it != definition.passphrases.end())
        image->passphrase = it->second;
    passphrases_.insert(definition.passphrases.begin(), definition.passphrases.end());
  }
  // libvirt numbers from the last disk to the first, and what is beneath after all active images.
  next_index_ = 1;
  for (auto disk = disks_.rbegin(); disk != disks_.rend(); ++disk)
    disk->source->index = next_index_++;
  for (auto disk = disks_.rbegin(); disk != disks_.rend(); ++disk)
    if (disk->source->beneath) number(*disk->source->beneath);
  for (Disk& disk : disks_)
    if (auto added = plug(disk); !added) return added;
  return {};
}

DomainResult<void> Domain::plug(Disk& disk) {
  if (auto taken = take_leases(disk); !taken) return taken;
  if (auto raised = raise_labels(disk); !raised) return raised;
  if (auto attached = attach_chain(*disk.source, false); !attached) return attached;
  auto plugged = execute(
      "device_add",
      {{"driver", "virtio-blk-pci"}, {"drive", disk.source->format_node()}, {"id", disk.alias}});
  if (!plugged) return std::unexpected(std::move(plugged).error());
  return {};
}

DomainResult<Domain::Disk*> Domain::find(const std::string& disk) {
  for (Disk& candidate : disks_)
    if (candidate.target == disk || candidate.source->path == disk) return &candidate;
  return errors::no_such_disk(disk);
}

DomainResult<Json> Domain::execute(std::string_view command, const Json& arguments) {
  auto reply = hypervisor_.execute(command, arguments);
  if (!reply) return std::unexpected(std::move(reply).error());
  if (const Json& error = reply::member(*reply, "error"); !error.is_null())
    return errors::refused(command, reply::text(error, "desc"));
  if (reply->is_object() && reply->contains("return")) return std::move((*reply)["return"]);
  return std::unexpected(TargetFailure{
      TargetFailure::Kind::harness,
      "reply to " + std::string(command) + " is neither return nor error: " + reply->dump()});
}

DomainResult<void> Domain::execute_ignoring(std::string_view command, const Json& arguments) {
  auto reply = hypervisor_.execute(command, arguments);
  if (!reply) return std::unexpected(std::move(reply).error());
  return {};
}

// libvirt numbers a chain from the top down.
void Domain::number(Source& top) {
  for (Source* source = &top; source != nullptr; source = source->beneath.get())
    source->index = next_index_++;
}

DomainResult<void> Domain::attach_storage(Source& source) {
  if (source.storage_open) return {};
  auto added = execute("blockdev-add", {{"driver", "file"},
                                        {"filename", source.path},
                                        {"node-name", source.storage_node()},
                                        {"auto-read-only", true},
                                        {"discard", "unmap"}});
  if (!added) return std::unexpected(std::move(added).error());
  source.storage_open = true;
  return {};
}

DomainResult<void> Domain::attach_secret(Source& source) {
  if (source.secret_there) return {};
  auto added = execute("object-add", {{"qom-type", "secret"},
                                      {"id", source.secret()},
                                      {"data", sim::encode_base64(source.passphrase)},
                                      {"format", "base64"}});
  if (!added) return std::unexpected(std::move(added).error());
  source.secret_there = true;
  return {};
}

DomainResult<void> Domain::attach_format(Source& source, const Source* backing, bool read_only) {
  if (source.format_open) return {};
  Json arguments = {{"node-name", source.format_node()},
                    {"read-only", read_only},
                    {"driver", source.format},
                    {"file", source.storage_node()}};
  const bool is_open = backing == nullptr && source.backing == Backing::unknown;
  if (can_have_backing(source.format) && !is_open)
    arguments["backing"] = backing != nullptr ? Json(backing->format_node()) : Json(nullptr);
  if (!source.passphrase.empty()) {
    if (auto secret = attach_secret(source); !secret) return secret;
    arguments["encrypt"] = {{"format", "luks"}, {"key-secret", source.secret()}};
  }
  auto added = execute("blockdev-add", arguments);
  if (!added) return std::unexpected(std::move(added).error());
  source.format_open = true;
  return {};
}

DomainResult<void> Domain::attach_chain(Source& top, bool read_only) {
  if (top.beneath)
    if (auto lower = attach_chain(*top.beneath, true); !lower) return lower;
  if (auto storage = attach_storage(top); !storage) return storage;
  return attach_format(top, top.beneath.get(), read_only);
}

DomainResult<void> Domain::detach(const Source& source) {
  if (source.format_open)
    if (auto gone = execute_ignoring("blockdev-del", {{"node-name", source.format_node()}}); !gone)
      return gone;
  if (source.storage_open)
    if (auto gone = execute_ignoring("blockdev-del", {{"node-name", source.storage_node()}}); !gone)
      return gone;
  if (source.secret_there) return execute_ignoring("object-del", {{"id", source.secret()}});
  return {};
}

DomainResult<void> Domain::detach_chain(Source& top) {
  for (Source* source = &top; source != nullptr; source = source->beneath.get()) {
    if (auto gone = detach(*source); !gone) return gone;
    source->format_open = source->storage_open = source->secret_there = false;
  }
  return {};
}

DomainResult<Chain> Domain::chain(const std::string& disk) {
  auto found = find(disk);
  if (!found) return std::unexpected(std::move(found).error());
  Chain chain;
  for (const Source* source = (*found)->source.get(); source != nullptr;
       source = source->beneath.get()) {
    chain.links.push_back({source->path, source->format});
    chain.terminated = source->backing == Backing::terminated;
  }
  return chain;
}

DomainResult<std::optional<MirrorState>> Domain::mirror(const std::string& disk) {
  auto found = find(disk);
  if (!found) return std::unexpected(std::move(found).error());
  const auto& job = (*found)->job;
  if (!job || !job->mirrors()) return std::nullopt;
  constexpr std::string_view kReady[] = {"", "", "yes", "", "abort", "pivot", "yes", ""};
  return MirrorState{job->target().path, job->target().format,
                     job->kind == JobKind::copy ? "copy" : "active-commit",
                     std::string(kReady[std::to_underlying(job->state)])};
}

DomainResult<std::string> Domain::qdev(const std::string& disk) {
  auto found = find(disk);
  if (!found) return std::unexpected(std::move(found).error());
  return "/machine/peripheral/" + (*found)->alias + "/virtio-backend";
}

}  // namespace conformance
