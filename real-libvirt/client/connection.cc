#include "real-libvirt/client/connection.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>
#include <thread>

namespace real_libvirt {
namespace {

// By the numbers of virDomainBlockJobType and virConnectDomainEventBlockJobStatus.
constexpr std::array<std::string_view, 6> kJobTypes = {"UNKNOWN", "PULL",          "COPY",
                                                       "COMMIT",  "ACTIVE_COMMIT", "BACKUP"};
constexpr std::array<std::string_view, 4> kStatuses = {"COMPLETED", "FAILED", "CANCELED", "READY"};

template <std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, int number) {
  return number >= 0 && static_cast<std::size_t>(number) < N
             ? names[static_cast<std::size_t>(number)]
             : "UNKNOWN";
}

const char* pointer(const std::optional<std::string>& text) {
  return text ? text->c_str() : nullptr;
}

Connection* of(void* self) { return static_cast<Connection*>(self); }

}  // namespace

std::string Connection::version() {
  unsigned long number = 0;  // NOLINT(google-runtime-int): libvirt's
  if (::virGetVersion(&number, nullptr, nullptr) != 0) return "of unknown version";
  return std::to_string(number / 1'000'000) + "." + std::to_string(number / 1'000 % 1'000) + "." +
         std::to_string(number % 1'000);
}

Answer<void> Connection::judged(int result) {
  if (result >= 0) return {};
  return std::unexpected(last_error());
}

Answer<Connection*> Connection::open(const std::string& root, Tell tell) {
  ::virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});  // else it prints each
  if (::virInitialize() != 0 || ::virEventRegisterDefaultImpl() != 0)
    return std::unexpected(last_error());
  // Lives as long as the thread, which lives as long as the process.
  auto* const self = new Connection(std::move(tell));
  self->timer_ = ::virEventAddTimeout(-1, on_timer, self, nullptr);
  std::thread([] {
    while (::virEventRunDefaultImpl() == 0) {
    }
  }).detach();
  self->connection_ = ::virConnectOpen(("qemu:///embed?root=" + root).c_str());
  if (self->connection_ == nullptr || self->timer_ < 0) return std::unexpected(last_error());
  if (auto listening = self->listen(); !listening) return std::unexpected(listening.error());
  return self;
}

Answer<void> Connection::listen() {
  const auto listen_to = [this](int id, auto callback) {
    return ::virConnectDomainEventRegisterAny(
        connection_, nullptr, id,
        reinterpret_cast<virConnectDomainEventGenericCallback>(
            reinterpret_cast<void (*)()>(callback)),
        this, nullptr);
  };
  for (const int id : {listen_to(VIR_DOMAIN_EVENT_ID_LIFECYCLE, on_lifecycle),
                       listen_to(VIR_DOMAIN_EVENT_ID_BLOCK_JOB, on_block_job),
                       listen_to(VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, on_block_job_2),
                       ::virConnectDomainQemuMonitorEventRegister(
                           connection_, nullptr, nullptr, on_monitor_event, this, nullptr, 0)})
    if (auto done = judged(id); !done) return done;
  return {};
}

// --- events --------------------------------------------------------------------------------------

// libvirt queues the two of one change together, this one first.
void Connection::on_block_job(virConnectPtr /*connection*/, virDomainPtr /*domain*/,
                              const char* path, int /*type*/, int /*status*/, void* self) {
  of(self)->path_ = path == nullptr ? "" : path;
}

void Connection::on_block_job_2(virConnectPtr /*connection*/, virDomainPtr /*domain*/,
                                const char* disk, int type, int status, void* self) {
  of(self)->tell_("BLOCK_JOB", {{"disk", disk},
                                {"path", of(self)->path_},
                                {"type", name_of(kJobTypes, type)},
                                {"status", name_of(kStatuses, status)}});
}

void Connection::on_monitor_event(virConnectPtr /*connection*/, virDomainPtr /*domain*/,
                                  const char* event, long long /*seconds*/, unsigned /*micros*/,
                                  const char* /*details*/, void* self) {
  of(self)->tell_("MONITOR", {{"event", event}});
}

int Connection::on_lifecycle(virConnectPtr /*connection*/, virDomainPtr domain, int event,
                             int detail, void* self) {
  if (event == VIR_DOMAIN_EVENT_STOPPED)
    of(self)->tell_("STOPPED", {{"domain", ::virDomainGetName(domain)}, {"detail", detail}});
  return 0;
}

void Connection::on_timer(int timer, void* self) {
  ::virEventUpdateTimeout(timer, -1);
  const std::lock_guard lock(of(self)->mutex_);
  ++of(self)->settles_;
  of(self)->settled_.notify_all();
}

// Events are told by a timer, too, that was set before this one: it comes first.
void Connection::settle() {
  std::unique_lock lock(mutex_);
  const std::uint64_t before = settles_;
  lock.unlock();
  ::virEventUpdateTimeout(timer_, 0);
  lock.lock();
  settled_.wait(lock, [&] { return settles_ != before; });
}

// --- calls ---------------------------------------------------------------------------------------

Answer<void> Connection::start(const DomainXml& xml, bool persistent) {
  const std::string text = to_xml(xml);
  persistent_ = persistent;
  if (!persistent) {
    domain_ = ::virDomainCreateXML(connection_, text.c_str(), VIR_DOMAIN_START_PAUSED);
    return judged(domain_ == nullptr ? -1 : 0);
  }
  domain_ = ::virDomainDefineXML(connection_, text.c_str());
  if (domain_ == nullptr) return judged(-1);
  return judged(::virDomainCreateWithFlags(domain_, VIR_DOMAIN_START_PAUSED));
}

// libvirt looks every 200 ms whether a QEMU that it told to end has ended; one that is no more is
// seen at once.
void Connection::destroy(const std::string& pid_file) {
  if (domain_ == nullptr) return;
  pid_t pid = 0;
  if (std::ifstream(pid_file) >> pid && pid > 1 && ::kill(pid, SIGKILL) == 0)
    for (int i = 0; i < 2000 && ::kill(pid, 0) == 0; ++i) ::poll(nullptr, 0, 1);
  ::virDomainDestroy(domain_);
  forget_snapshots();
  if (persistent_) ::virDomainUndefine(domain_);
  ::virDomainFree(domain_);
  domain_ = nullptr;
}

Answer<void> Connection::rebase(const std::string& disk, const std::optional<std::string>& base,
                                std::uint64_t bandwidth, std::uint32_t flags) {
  return judged(::virDomainBlockRebase(domain_, disk.c_str(), pointer(base), bandwidth, flags));
}

Answer<void> Connection::copy(const std::string& disk, const std::string& destination,
                              const conformance::BlockCopyParameters& parameters,
                              std::uint32_t flags) {
  virTypedParameterPtr list = nullptr;
  int count = 0;
  int room = 0;
  bool added = true;
  const auto add = [&](const char* name, std::uint64_t value) {
    if (value != 0)
      added = added && ::virTypedParamsAddULLong(&list, &count, &room, name, value) == 0;
  };
  add(VIR_DOMAIN_BLOCK_COPY_BANDWIDTH, parameters.bandwidth);
  add(VIR_DOMAIN_BLOCK_COPY_BUF_SIZE, parameters.buf_size);
  if (parameters.granularity != 0)
    added =
        added && ::virTypedParamsAddUInt(&list, &count, &room, VIR_DOMAIN_BLOCK_COPY_GRANULARITY,
                                         parameters.granularity) == 0;
  const auto result = judged(
      added ? ::virDomainBlockCopy(domain_, disk.c_str(), destination.c_str(), list, count, flags)
            : -1);
  ::virTypedParamsFree(list, count);
  return result;
}

Answer<void> Connection::pull(const std::string& disk, std::uint64_t bandwidth,
                              std::uint32_t flags) {
  return judged(::virDomainBlockPull(domain_, disk.c_str(), bandwidth, flags));
}

Answer<void> Connection::commit(const std::string& disk, const std::optional<std::string>& base,
                                const std::optional<std::string>& top, std::uint64_t bandwidth,
                                std::uint32_t flags) {
  return judged(
      ::virDomainBlockCommit(domain_, disk.c_str(), pointer(base), pointer(top), bandwidth, flags));
}

Answer<void> Connection::abort(const std::string& disk, std::uint32_t flags) {
  return judged(::virDomainBlockJobAbort(domain_, disk.c_str(), flags));
}

Answer<void> Connection::set_speed(const std::string& disk, std::uint64_t bandwidth,
                                   std::uint32_t flags) {
  return judged(::virDomainBlockJobSetSpeed(domain_, disk.c_str(), bandwidth, flags));
}

Answer<std::string> Connection::create_snapshot(const std::string& xml, std::uint32_t flags) {
  virDomainSnapshotPtr made = ::virDomainSnapshotCreateXML(domain_, xml.c_str(), flags);
  if (made == nullptr) return std::unexpected(last_error());
  std::string name = ::virDomainSnapshotGetName(made);
  ::virDomainSnapshotFree(made);
  return name;
}

Answer<void> Connection::delete_snapshot(const std::string& name, std::uint32_t flags) {
  virDomainSnapshotPtr snapshot = ::virDomainSnapshotLookupByName(domain_, name.c_str(), 0);
  if (snapshot == nullptr) return judged(-1);
  auto result = judged(::virDomainSnapshotDelete(snapshot, flags));
  ::virDomainSnapshotFree(snapshot);
  return result;
}

Answer<void> Connection::revert_to_snapshot(const std::string& name, std::uint32_t flags) {
  virDomainSnapshotPtr snapshot = ::virDomainSnapshotLookupByName(domain_, name.c_str(), 0);
  if (snapshot == nullptr) return judged(-1);
  auto result = judged(::virDomainRevertToSnapshot(snapshot, flags));
  ::virDomainSnapshotFree(snapshot);
  return result;
}

Answer<std::vector<conformance::SnapshotInfo>> Connection::snapshots() {
  virDomainSnapshotPtr* list = nullptr;
  const int count = ::virDomainListAllSnapshots(domain_, &list, 0);
  if (count < 0) return std::unexpected(last_error());
  std::vector<conformance::SnapshotInfo> infos;
  for (int i = 0; i < count; ++i) {
    conformance::SnapshotInfo info{::virDomainSnapshotGetName(list[i]), {}, false};
    if (virDomainSnapshotPtr parent = ::virDomainSnapshotGetParent(list[i], 0)) {
      info.parent = ::virDomainSnapshotGetName(parent);
      ::virDomainSnapshotFree(parent);
    }
    info.current = ::virDomainSnapshotIsCurrent(list[i], 0) == 1;
    infos.push_back(std::move(info));
    ::virDomainSnapshotFree(list[i]);
  }
  ::free(list);
  std::ranges::sort(infos, {}, &conformance::SnapshotInfo::name);
  return infos;
}

// libvirt keeps the descriptions of a domain that is gone, for the next of its name.
void Connection::forget_snapshots() {
  virDomainSnapshotPtr* list = nullptr;
  const int count = ::virDomainListAllSnapshots(domain_, &list, 0);
  for (int i = 0; i < count; ++i) {
    ::virDomainSnapshotDelete(list[i], VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY);
    ::virDomainSnapshotFree(list[i]);
  }
  if (count >= 0) ::free(list);
}

Answer<std::string> Connection::monitor_command(const std::string& command) {
  char* reply = nullptr;
  if (::virDomainQemuMonitorCommand(domain_, command.c_str(), &reply, 0) != 0)
    return std::unexpected(last_error());
  std::string text = reply == nullptr ? "" : reply;
  ::free(reply);
  return text;
}

Answer<LiveDisk> Connection::disk(const std::string& target) {
  char* const xml = ::virDomainGetXMLDesc(domain_, 0);
  if (xml == nullptr) return std::unexpected(last_error());
  auto disk = read_disk(xml, target);
  ::free(xml);
  if (!disk)  // as its calls say
    return std::unexpected(
        NamedError{"QEMU", "INVALID_ARG", "disk '" + target + "' not found in domain"});
  return *std::move(disk);
}

}  // namespace real_libvirt
