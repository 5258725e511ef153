// Doubles for this room's tests: files in a map, and hypervisors that know no disk.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"

namespace conformance::testing {

inline const std::string kDirectory = "/images";

// A file of testdata/ with ${dir} replaced.
inline Json load(const std::string& name) {
  std::ifstream file(std::string(UNDERSTUDY_SOURCE_DIR) + "/conformance/domain/testdata/" + name);
  std::stringstream text;
  text << file.rdbuf();
  std::string all = text.str();
  for (auto at = all.find("${dir}"); at != std::string::npos; at = all.find("${dir}", at))
    all.replace(at, 6, kDirectory);
  return Json::parse(all);
}

class MapFiles final : public Files {
 public:
  std::string directory() const override { return kDirectory; }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    return found->second.size();
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    const auto found = files.find(path);
    if (found == files.end()) return sim::os_error(ENOENT);
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = static_cast<std::byte>(offset + i < found->second.size() ? found->second[offset + i]
                                                                         : '\0');
    return sim::ok();
  }
  sim::Result<> create(const std::string& path, std::uint64_t size) override {
    if (!directories.contains(path.substr(0, path.rfind('/')))) return sim::os_error(ENOENT);
    files[path] = std::string(size, '\0');
    return sim::ok();
  }
  sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) override {
    std::string& file = files[path];
    file.resize(std::max<std::size_t>(file.size(), offset + from.size()));
    std::copy_n(reinterpret_cast<const char*>(from.data()), from.size(), file.data() + offset);
    return sim::ok();
  }
  sim::Result<> remove(const std::string& path) override {
    if (files.erase(path) == 0) return sim::os_error(ENOENT);
    return sim::ok();
  }
  std::vector<std::string> names() const override { return {}; }

  // The head of a qcow2 image as the format lays it out; empty `format`: no such extension.
  void qcow2(const std::string& name, const std::string& backing = {},
             const std::string& format = "qcow2", unsigned version = 3) {
    const std::size_t length = version == 2 ? 72 : 104;
    std::string image(length, '\0');
    put(image, 0, 0x514649fb, 4);
    put(image, 4, version, 4);
    put(image, 20, 16, 4);
    put(image, 24, 1U << 20, 8);
    if (version == 3) put(image, 100, length, 4);
    // The feature name table that QEMU writes, as something to step over; odd in length.
    extension(image, 0x6803f857, "feature");
    if (!format.empty()) extension(image, 0xe2792aca, format);
    image.append(8, '\0');
    if (!backing.empty()) {
      put(image, 8, image.size(), 8);
      put(image, 16, backing.size(), 4);
      image += backing;
    }
    files[kDirectory + "/" + name] = image;
  }
  void raw(const std::string& name, std::size_t size = 1U << 10) {
    files[kDirectory + "/" + name] = std::string(size, 'x');
  }

  std::map<std::string, std::string> files;
  std::set<std::string> directories = {kDirectory};

 private:
  static void put(std::string& into, std::size_t at, std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i)
      into[at + i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
  }
  static void extension(std::string& image, std::uint32_t type, const std::string& text) {
    const std::size_t at = image.size();
    image.append(8 + (text.size() + 7) / 8 * 8, '\0');
    put(image, at, type, 4);
    put(image, at + 4, text.size(), 4);
    std::copy(text.begin(), text.end(), image.data() + at + 8);
  }
};

// The sources and destinations of the measurements, as far as libvirt looks at them: "raw",
// "qcow2", "chain3-relative-raw-base", …  Returns the path of the active image.
inline std::string make_source(MapFiles& files, const std::string& source, bool relative = false) {
  relative = relative || source.contains("-relative");
  const std::string directory = relative ? "" : kDirectory + "/";
  if (source == "raw") {
    files.raw("src");
    return kDirectory + "/src";
  }
  if (source == "qcow2") {
    files.qcow2("src");
    return kDirectory + "/src";
  }
  const bool raw_base = source.contains("-raw");
  if (raw_base)
    files.raw("base");
  else
    files.qcow2("base");
  std::string below = "base";
  for (char layer = '1'; layer < source.at(5); ++layer) {
    const std::string name = std::string("snap") + layer;
    files.qcow2(name, directory + below, raw_base && layer == '1' ? "raw" : "qcow2");
    below = name;
  }
  return kDirectory + "/" + below;
}
inline void make_destination(MapFiles& files, const std::string& destination) {
  if (destination == "absent") return;
  if (destination == "empty") {
    files.raw("copy", 0);
  } else if (destination.starts_with("raw")) {
    files.raw("copy");
  } else if (destination == "qcow2-right-backing") {
    files.qcow2("copy", kDirectory + "/snap1");
  } else if (destination == "qcow2-wrong-backing") {
    files.qcow2("other");
    files.qcow2("copy", kDirectory + "/other");
  } else {
    files.qcow2("copy");
  }
}

// Of the active image of such a source.
inline std::string format_of(const std::string& source) {
  return source == "raw" ? "raw" : "qcow2";
}

// What a domain's start sends, and the answers: the nodes as they were recorded, and the device.
inline Json start_script(const Json& blockdevs) {
  Json script = Json::array();
  const auto expect = [&](const std::string& command, const Json& arguments) {
    script.push_back({">", command, arguments});
    script.push_back({"<", {{"return", Json::object()}}});
  };
  for (const Json& blockdev : blockdevs) expect("blockdev-add", blockdev);
  expect("device_add",
         {{"driver", "virtio-blk-pci"}, {"drive", "libvirt-1-format"}, {"id", "virtio-disk0"}});
  return script;
}

inline Json job_event(const std::string& id, const std::string& status) {
  return {{"id", id}, {"status", status}};
}

// Answers what a log says, and fails the test if it is asked anything else.
class ScriptedHypervisor final : public Hypervisor {
 public:
  // [">", command, arguments], ["<", reply], ["!", event, data], …
  void play(Json script) {
    script_ = std::move(script);
    at_ = 0;
  }
  bool finished() const {
    return std::all_of(script_.begin() + static_cast<std::ptrdiff_t>(at_), script_.end(),
                       [](const Json& entry) { return entry[0] == "!"; });
  }

  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    take_arrived();
    const Json sent = arguments.is_null() ? Json::object() : arguments;
    if (at_ == script_.size() || script_[at_][1] != command || script_[at_][2] != sent) {
      ADD_FAILURE() << "sent     " << command << " " << sent << "\nexpected "
                    << (at_ == script_.size() ? Json("nothing") : script_[at_]);
      return std::unexpected(TargetFailure{TargetFailure::Kind::harness, "off the script"});
    }
    ++at_;
    take_arrived();
    return script_[at_++][1];
  }
  Outcome<std::optional<Event>> poll_event() override {
    if (arrived_.empty()) return std::nullopt;
    std::optional<Event> event = std::move(arrived_.front());
    arrived_.pop_front();
    return event;
  }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds) override {
    if (arrived_.empty() && at_ < script_.size() && script_[at_][0] == "!") take_one();
    return poll_event();
  }

 private:
  void take_one() {
    arrived_.push_back({script_[at_][1], script_[at_][2]});
    ++at_;
  }
  // What the log has before this point has happened.
  void take_arrived() {
    while (at_ < script_.size() && script_[at_][0] == "!") take_one();
  }
  Json script_ = Json::array();
  std::size_t at_ = 0;
  std::deque<Event> arrived_;
};

// Says yes to everything: every job comes to its end as told here.
class ObligingHypervisor final : public Hypervisor {
 public:
  bool held = false;         // jobs go on for ever: a mirror or an active commit is never ready
  std::string mirror_error;  // a mirror fails with this
  std::string create_error;
  bool silent = false;   // no events at all
  bool running = false;  // says so once, by RESUME
  // The refusals to come, by the number of commands of this name before.
  std::map<std::pair<std::string, int>, std::string> refusals;
  std::vector<std::string> sent;    // commands, with the actions of transactions
  std::vector<Json> mirrors;        // arguments of each blockdev-mirror or drive-mirror
  Json statistics = Json::array();  // query-blockstats
  std::vector<Json> commands;       // [command, arguments]

  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    const std::string name(command);
    sent.push_back(name);
    commands.push_back({name, arguments.is_null() ? Json::object() : arguments});
    if (name == "transaction")
      sent.back() += "(" + arguments["actions"][0]["type"].get<std::string>() + ")";
    if (const auto refused = refusals.find({name, counts_[name]++}); refused != refusals.end())
      return Json{{"error", {{"class", "GenericError"}, {"desc", refused->second}}}};
    if (name == "blockdev-add") add_node(arguments);
    if (name == "query-named-block-nodes") return Json{{"return", nodes_}};
    if (name == "query-jobs") return Json{{"return", jobs_}};
    if (name == "job-dismiss") jobs_ = Json::array();
    if (name == "transaction") run(arguments["actions"][0]);
    if (name == "blockdev-create") conclude(arguments["job-id"], create_error);
    if (name == "blockdev-mirror" || name == "drive-mirror") start_mirror(arguments);
    if (name == "block-stream" || name == "block-commit") start_merge(arguments);
    if (name == "job-finalize") conclude(arguments["id"], "");
    if (name == "human-monitor-command") return Json{{"return", ""}};
    if (name == "query-blockstats") return Json{{"return", statistics}};
    if (name == "block-job-complete") conclude(arguments["device"], mirror_error);
    if (name == "job-complete") conclude(arguments["id"], mirror_error);
    if (name == "block-job-cancel")
      conclude(arguments["device"], held ? "Operation canceled" : mirror_error);
    return Json{{"return", Json::object()}};
  }
  Outcome<std::optional<Event>> poll_event() override {
    if (!std::exchange(running, false)) return std::nullopt;
    return Event{"RESUME", Json::object()};
  }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds) override {
    if (events_.empty() || silent) return std::nullopt;
    std::optional<Event> event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  void add_node(const Json& arguments) {
    nodes_.push_back({{"node-name", arguments["node-name"]},
                      {"image", {{"virtual-size", 1U << 20}, {"cluster-size", 1U << 16}}},
                      {"dirty-bitmaps", Json::array()}});
  }
  void run(const Json& action) {
    if (action["type"] != "block-dirty-bitmap-add") return;
    for (Json& node : nodes_)
      if (node["node-name"] == action["data"]["node"])
        node["dirty-bitmaps"].push_back({{"name", action["data"]["name"]}});
  }
  void start_mirror(const Json& arguments) {
    mirrors.push_back(arguments);
    const std::string id = arguments["job-id"];
    events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "running")});
    if (!mirror_error.empty()) return conclude(id, mirror_error);
    if (!held) events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "ready")});
  }
  void start_merge(const Json& arguments) {
    const std::string id = arguments["job-id"];
    events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "running")});
    if (held) return;
    if (!arguments.value("auto-finalize", true))
      events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "pending")});
    else if (arguments.value("top-node", Json()) == arguments["device"])
      events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "ready")});
    else
      conclude(id, "");
  }
  void conclude(const std::string& id, const std::string& error) {
    jobs_.push_back({{"id", id}, {"status", "concluded"}});
    if (!error.empty()) jobs_.back()["error"] = error;
    events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "waiting")});
    events_.push_back({"JOB_STATUS_CHANGE", job_event(id, "concluded")});
  }
  Json nodes_ = Json::array();
  Json jobs_ = Json::array();
  std::map<std::string, int> counts_;
  std::deque<Event> events_;
};

inline Json to_json(const DomainError& error) {
  return {{"domain", error.domain}, {"code", error.code}, {"message", error.message}};
}
// "ok", the DomainError, or a text that is neither.
template <class T>
Json outcome_of(const DomainResult<T>& result) {
  if (result) return "ok";
  if (const auto* error = std::get_if<DomainError>(&result.error())) return to_json(*error);
  return "target failure: " + std::get<TargetFailure>(result.error()).detail;
}

}  // namespace conformance::testing
