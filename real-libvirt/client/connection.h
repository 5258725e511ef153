// libvirt itself: one connection to the embedded driver, and at most one domain on it.

#pragma once

#include <libvirt/libvirt.h>

#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "real-libvirt/client/domain_xml.h"
#include "real-libvirt/client/errors.h"
#include "sim/base/json.h"

namespace real_libvirt {

template <class T>
using Answer = std::expected<T, NamedError>;

class Connection {
 public:
  // Called from the thread of libvirt's events, with an event's name and data:
  // BLOCK_JOB {disk, path, type, status}, MONITOR {event} for each event of QEMU, and STOPPED
  // {detail} when a domain is no more.
  using Tell = std::function<void(const char* event, sim::Json data)>;

  // Opens qemu:///embed?root=ROOT and starts the thread of its events, which never ends.  To be
  // called once in a process.
  static Answer<Connection*> open(const std::string& root, Tell tell);

  // "9.0.0".
  static std::string version();

  // Starts a domain, paused, transient unless it is to be persistent.
  Answer<void> start(const DomainXml& xml, bool persistent);
  // Ends it, at once: its QEMU is killed, whose process `pid_file` names.  No error if there is
  // none.
  void destroy(const std::string& pid_file);

  // As DomainApi's.
  Answer<void> rebase(const std::string& disk, const std::optional<std::string>& base,
                      std::uint64_t bandwidth, std::uint32_t flags);
  Answer<void> copy(const std::string& disk, const std::string& destination,
                    const conformance::BlockCopyParameters& parameters, std::uint32_t flags);
  Answer<void> pull(const std::string& disk, std::uint64_t bandwidth, std::uint32_t flags);
  Answer<void> commit(const std::string& disk, const std::optional<std::string>& base,
                      const std::optional<std::string>& top, std::uint64_t bandwidth,
                      std::uint32_t flags);
  Answer<void> abort(const std::string& disk, std::uint32_t flags);
  Answer<std::string> create_snapshot(const std::string& xml, std::uint32_t flags);
  Answer<void> delete_snapshot(const std::string& name, std::uint32_t flags);
  Answer<void> revert_to_snapshot(const std::string& name, std::uint32_t flags);
  Answer<std::vector<conformance::SnapshotInfo>> snapshots();  // names in ascending order
  Answer<void> set_speed(const std::string& disk, std::uint64_t bandwidth, std::uint32_t flags);

  // One QMP command as text; its reply as text, which may be an error of QEMU's.
  Answer<std::string> monitor_command(const std::string& command);
  Answer<LiveDisk> disk(const std::string& target);

  // Returns when all events that libvirt had queued before were told.
  void settle();

 private:
  void forget_snapshots();
  explicit Connection(Tell tell) : tell_(std::move(tell)) {}
  Answer<void> listen();
  // What an API function's return value says.
  static Answer<void> judged(int result);

  static void on_block_job(virConnectPtr, virDomainPtr domain, const char* path, int type,
                           int status, void* self);
  static void on_block_job_2(virConnectPtr, virDomainPtr domain, const char* disk, int type,
                             int status, void* self);
  static void on_monitor_event(virConnectPtr, virDomainPtr domain, const char* event,
                               long long seconds, unsigned micros, const char* details, void* self);
  static int on_lifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* self);
  static void on_timer(int timer, void* self);

  Tell tell_;
  virConnectPtr connection_ = nullptr;
  virDomainPtr domain_ = nullptr;
  bool persistent_ = false;
  int timer_ = -1;
  std::mutex mutex_;
  std::condition_variable settled_;
  std::uint64_t settles_ = 0;  // how many were told
  std::string path_;           // of a BLOCK_JOB whose BLOCK_JOB_2 is yet to come
};

}  // namespace real_libvirt
