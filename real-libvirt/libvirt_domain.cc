#include "real-libvirt/libvirt_domain.h"

#include <utility>

namespace real_libvirt {

using conformance::BlockJobEvent;
using conformance::Chain;
using conformance::MirrorState;

static Json or_null(const std::optional<std::string>& text) { return text ? Json(*text) : Json(); }

DomainResult<void> LibvirtDomain::call(const char* name, const Json& arguments) {
  auto answer = client_.ask(name, arguments);
  if (!answer) return std::unexpected(std::move(answer).error());
  return {};
}

DomainResult<void> LibvirtDomain::block_rebase(const std::string& disk,
                                               const std::optional<std::string>& base,
                                               std::uint64_t bandwidth, std::uint32_t flags) {
  return call(
      "blockRebase",
      {{"disk", disk}, {"base", or_null(base)}, {"bandwidth", bandwidth}, {"flags", flags}});
}

DomainResult<void> LibvirtDomain::block_copy(const std::string& disk,
                                             const std::string& destination,
                                             const conformance::BlockCopyParameters& parameters,
                                             std::uint32_t flags) {
  return call("blockCopy", {{"disk", disk},
                            {"destination", destination},
                            {"bandwidth", parameters.bandwidth},
                            {"granularity", parameters.granularity},
                            {"buf-size", parameters.buf_size},
                            {"flags", flags}});
}

DomainResult<void> LibvirtDomain::block_pull(const std::string& disk, std::uint64_t bandwidth,
                                             std::uint32_t flags) {
  return call("blockPull", {{"disk", disk}, {"bandwidth", bandwidth}, {"flags", flags}});
}

DomainResult<void> LibvirtDomain::block_commit(const std::string& disk,
                                               const std::optional<std::string>& base,
                                               const std::optional<std::string>& top,
                                               std::uint64_t bandwidth, std::uint32_t flags) {
  return call("blockCommit", {{"disk", disk},
                              {"base", or_null(base)},
                              {"top", or_null(top)},
                              {"bandwidth", bandwidth},
                              {"flags", flags}});
}

DomainResult<void> LibvirtDomain::block_job_abort(const std::string& disk, std::uint32_t flags) {
  return call("blockJobAbort", {{"disk", disk}, {"flags", flags}});
}

DomainResult<void> LibvirtDomain::block_job_set_speed(const std::string& disk,
                                                      std::uint64_t bandwidth,
                                                      std::uint32_t flags) {
  return call("blockJobSetSpeed", {{"disk", disk}, {"bandwidth", bandwidth}, {"flags", flags}});
}

DomainResult<std::string> LibvirtDomain::snapshot_create_xml(const std::string& xml,
                                                             std::uint32_t flags) {
  auto made = client_.ask("snapshotCreateXML", {{"xml", xml}, {"flags", flags}});
  if (!made) return std::unexpected(std::move(made).error());
  return made->value("name", "");
}

DomainResult<void> LibvirtDomain::snapshot_delete(const std::string& name, std::uint32_t flags) {
  return call("snapshotDelete", {{"name", name}, {"flags", flags}});
}

DomainResult<void> LibvirtDomain::snapshot_revert(const std::string& name, std::uint32_t flags) {
  return call("snapshotRevert", {{"name", name}, {"flags", flags}});
}

DomainResult<std::vector<conformance::SnapshotInfo>> LibvirtDomain::snapshots() {
  const auto told = client_.ask("snapshots", Json::object());
  if (!told) return std::unexpected(told.error());
  std::vector<conformance::SnapshotInfo> snapshots;
  for (const Json& one : told->value("snapshots", Json::array()))
    snapshots.push_back(
        {one.value("name", ""), one.value("parent", ""), one.value("current", false)});
  return snapshots;
}

DomainResult<std::optional<BlockJobEvent>> LibvirtDomain::next_event(
    std::chrono::milliseconds limit) {
  return client_.next_event(limit);
}

DomainResult<Chain> LibvirtDomain::chain(const std::string& disk) {
  const auto live = client_.ask("disk", {{"disk", disk}});
  if (!live) return std::unexpected(live.error());
  Chain chain;
  for (const Json& link : live->value("links", Json::array()))
    chain.links.push_back({link.value("path", ""), link.value("format", "")});
  chain.terminated = live->value("terminated", false);
  return chain;
}

DomainResult<std::optional<MirrorState>> LibvirtDomain::mirror(const std::string& disk) {
  const auto live = client_.ask("disk", {{"disk", disk}});
  if (!live) return std::unexpected(live.error());
  const Json mirror = live->value("mirror", Json());
  if (mirror.is_null()) return std::nullopt;
  return MirrorState{.path = mirror.value("path", ""),
                     .format = mirror.value("format", ""),
                     .job = mirror.value("job", ""),
                     .ready = mirror.value("ready", "")};
}

// The device of an alias is of that name in QEMU, too.
DomainResult<std::string> LibvirtDomain::qdev(const std::string& disk) {
  const auto live = client_.ask("disk", {{"disk", disk}});
  if (!live) return std::unexpected(live.error());
  return "/machine/peripheral/" + live->value("alias", "") + "/virtio-backend";
}

}  // namespace real_libvirt
