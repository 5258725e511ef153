// The port DomainApi over real libvirt.

#pragma once

#include <optional>
#include <string>

#include "conformance/target/domain_api.h"
#include "real-libvirt/client_process.h"

namespace real_libvirt {

// Every call is libvirt's own; chain(), mirror() and qdev() read the live XML of that moment.
class LibvirtDomain final : public conformance::DomainApi {
 public:
  // Of the domain that was started; `client` outlives it.
  explicit LibvirtDomain(ClientProcess& client) : client_(client) {}

  DomainResult<void> block_rebase(const std::string& disk, const std::optional<std::string>& base,
                                  std::uint64_t bandwidth, std::uint32_t flags) override;
  DomainResult<void> block_copy(const std::string& disk, const std::string& destination,
                                const conformance::BlockCopyParameters& parameters,
                                std::uint32_t flags) override;
  DomainResult<void> block_pull(const std::string& disk, std::uint64_t bandwidth,
                                std::uint32_t flags) override;
  DomainResult<void> block_commit(const std::string& disk, const std::optional<std::string>& base,
                                  const std::optional<std::string>& top, std::uint64_t bandwidth,
                                  std::uint32_t flags) override;
  DomainResult<void> block_job_abort(const std::string& disk, std::uint32_t flags) override;
  DomainResult<void> block_job_set_speed(const std::string& disk, std::uint64_t bandwidth,
                                         std::uint32_t flags) override;
  DomainResult<std::string> snapshot_create_xml(const std::string& xml,
                                                std::uint32_t flags) override;
  DomainResult<void> snapshot_delete(const std::string& name, std::uint32_t flags) override;
  DomainResult<void> snapshot_revert(const std::string& name, std::uint32_t flags) override;
  DomainResult<std::vector<conformance::SnapshotInfo>> snapshots() override;
  DomainResult<std::optional<conformance::BlockJobEvent>> next_event(
      std::chrono::milliseconds limit) override;
  DomainResult<conformance::Chain> chain(const std::string& disk) override;
  DomainResult<std::optional<conformance::MirrorState>> mirror(const std::string& disk) override;
  DomainResult<std::string> qdev(const std::string& disk) override;

 private:
  DomainResult<void> call(const char* name, const Json& arguments);
  ClientProcess& client_;
};

}  // namespace real_libvirt
