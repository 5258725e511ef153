#include "real-qemu/recycle.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

namespace real_qemu {
namespace {

using conformance::Hypervisor;
using sim::Json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::array<std::string_view, 9> kUndoable = {
    "block_resize", "block_set_io_throttle", "change-backing-file", "device_del", "qom-get",
    "qom-list",     "qmp_capabilities",      "system_reset",        "transaction"};
// Of everything that begins so.
constexpr std::array<std::string_view, 4> kUndoablePrefixes = {"query-", "blockdev-", "block-",
                                                               "job-"};
constexpr std::string_view kDevices = "/machine/peripheral";

// Every byte that is sent costs QEMU about 4 us (its monitor reads them one by one; measured on
// 7.2), so nothing is asked twice.
class Recycling {
 public:
  Recycling(Hypervisor& qemu, milliseconds limit) : qemu_(qemu), deadline_(Clock::now() + limit) {}

  bool run() { return end_jobs() && remove_devices() && remove_nodes() && is_as_new(); }

 private:
  // The value of "return", or nothing for an error or a failure.
  std::optional<Json> ask(std::string_view command, const Json& arguments = nullptr) {
    auto reply = qemu_.execute(command, arguments);
    if (!reply) failed_ = true;
    if (!reply || !reply->contains("return")) return std::nullopt;
    return std::move((*reply)["return"]);
  }
  bool in_time() const { return !failed_ && Clock::now() < deadline_; }
  // Nothing if there was none in time.
  std::optional<conformance::Event> next_event(milliseconds limit) {
    auto event = qemu_.next_event(limit);
    if (!event) failed_ = true;
    return event ? std::move(*event) : std::nullopt;
  }

  bool end_jobs();
  void end_job(const std::string& id, const std::string& status, const std::string& type);
  // Ids of the devices that were plugged in.
  std::optional<std::vector<std::string>> devices();
  bool remove_devices();
  bool remove_nodes();
  bool is_as_new();

  Hypervisor& qemu_;
  Clock::time_point deadline_;
  bool failed_ = false;
  std::set<std::string> cancelled_;
};

// In 7.2 and 10.0 query-named-block-nodes crashes on a concluded stream job, in 5.2 on a concluded
// backup; hence jobs go first.
bool Recycling::end_jobs() {
  while (in_time()) {
    const auto jobs = ask("query-jobs");
    if (!jobs) return false;
    if (jobs->empty()) return true;
    bool dismissed = false;
    for (const Json& job : *jobs) {
      const auto status = job.value("status", "");
      end_job(job.value("id", ""), status, job.value("type", ""));
      dismissed = dismissed || status == "concluded";
    }
    if (!dismissed) next_event(milliseconds(50));
  }
  return false;
}

void Recycling::end_job(const std::string& id, const std::string& status, const std::string& type) {
  static const std::set<std::string_view> kBlockJobs = {"mirror", "commit", "stream", "backup"};
  if (status == "concluded") {
    ask("job-dismiss", {{"id", id}});
    return;
  }
  if (status == "aborting" || status == "null" || !cancelled_.insert(id).second) return;
  // job-cancel is not forced in 5.2.
  if (kBlockJobs.contains(type))
    ask("block-job-cancel", {{"device", id}, {"force", true}});
  else
    ask("job-cancel", {{"id", id}});
}

std::optional<std::vector<std::string>> Recycling::devices() {
  const auto members = ask("qom-list", {{"path", kDevices}});
  if (!members) return std::nullopt;
  std::vector<std::string> ids;
  for (const Json& member : *members)
    if (member.value("type", "").starts_with("child<")) ids.push_back(member.value("name", ""));
  return ids;
}

// Without a guest that agrees, a reset is what ends the removal of a PCI device.
bool Recycling::remove_devices() {
  const auto ids = devices();
  if (!ids) return false;
  if (ids->empty()) return true;
  for (const std::string& id : *ids) ask("device_del", {{"id", id}});
  ask("system_reset");
  // The devices leave /machine at once, but go, and free their nodes, when QEMU's RCU thread finds
  // the time: after 1 to 2 ms on 7.2, mostly, but now and then (on 5.2 always) after 50.
  std::set<std::string> left(ids->begin(), ids->end());
  while (in_time() && !left.empty()) {
    const auto event = next_event(milliseconds(1000));
    if (!event) return false;
    if (event->name == "DEVICE_DELETED") left.erase(event->data.value("device", ""));
  }
  return in_time();
}

bool Recycling::remove_nodes() {
  while (in_time()) {
    const auto nodes = ask("query-named-block-nodes", {{"flat", true}});
    if (!nodes) return false;
    if (nodes->empty()) return true;
    bool removed = false;
    for (const Json& node : *nodes) {
      const auto name = node.value("node-name", "");
      if (!name.starts_with('#') && ask("blockdev-del", {{"node-name", name}})) removed = true;
    }
    // A device that the scenario removed may not have gone yet.
    if (!removed && !next_event(milliseconds(200))) return false;
  }
  return false;
}

bool Recycling::is_as_new() {
  const auto status = ask("query-status");
  if (!status || status->value("status", "") != "prelaunch") return false;
  const auto disks = ask("query-block");
  return disks && disks->empty();
}

}  // namespace

bool can_be_undone(std::string_view command, const Json& arguments) {
  if (command == "human-monitor-command") {
    const Json given = arguments.is_object() ? arguments.value("command-line", Json()) : Json();
    const std::string line = given.is_string() ? given.get<std::string>() : "";
    return line.starts_with("qemu-io ") || line.starts_with("info ");
  }
  if (command == "device_add") {
    // Without an id we would not find it, and it takes a number; an empty drive leaves a backend
    // behind, which x-debug-query-block-graph shows.
    const Json id = arguments.is_object() ? arguments.value("id", Json()) : Json();
    if (!id.is_string() || id.get_ref<const std::string&>().empty()) return false;
    return arguments.value("driver", Json()) != "scsi-cd" || arguments.contains("drive");
  }
  if (command.starts_with("block-export-")) return false;
  return std::ranges::find(kUndoable, command) != kUndoable.end() ||
         std::ranges::any_of(kUndoablePrefixes, [command](std::string_view prefix) {
           return command.starts_with(prefix);
         });
}

bool recycle(Hypervisor& qemu, milliseconds limit) { return Recycling(qemu, limit).run(); }

}  // namespace real_qemu
