#include "real-qemu/differential/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <regex>

namespace differential {

using conformance::Event;
using conformance::Hypervisor;
using conformance::Session;
using std::chrono::milliseconds;

static constexpr milliseconds kPatience{10'000};

std::vector<Sequence> load_sequences(const std::string& path) {
  std::ifstream file(path);
  const Json json = Json::parse(file, nullptr, false);
  std::vector<Sequence> sequences;
  if (json.is_discarded()) return sequences;
  for (const Json& entry : json["sequences"])
    sequences.push_back({entry["name"], entry.value("layout", "chain"),
                         entry.value("drain_pairs_vary", false),
                         entry["steps"].get<std::vector<Step>>()});
  return sequences;
}

namespace {

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

Json replaced(const Json& json, const std::string& from, const std::string& to) {
  std::string text = json.dump();
  replace_all(text, from, to);
  return Json::parse(text);
}

// Names that a machine makes up, and the speed that qemu-io measured.
Json without_chance(const Json& json) {
  static const std::regex generated("#block[0-9]+"), rate(R"( ops; [^"]*? sec \([^)]*\))");
  std::string text = std::regex_replace(json.dump(), generated, "#block");
  return Json::parse(std::regex_replace(text, rate, " ops; (rate)"));
}

// What of a node's description is the same on every host; the order, which hangs on the names made
// up for children, is not compared.
Json describe_nodes(const Json& nodes) {
  std::vector<Json> kept;
  for (const Json& node : nodes) {
    Json entry = {{"size", node["image"]["virtual-size"]}};
    for (const char* name : {"node-name", "drv", "ro", "dirty-bitmaps", "backing_file_depth"})
      if (node.contains(name)) entry[name] = node[name];
    kept.push_back(std::move(entry));
  }
  std::ranges::sort(kept);
  return kept;
}

// An error whole; of a success what can be the same twice.
Json comparable(const std::string& command, const Json& reply, const std::string& directory) {
  Json kept = {{"return", Json::object()}};
  if (reply.contains("error")) {
    kept = {{"error", reply["error"]}};
  } else if (command == "query-named-block-nodes") {
    kept["return"] = describe_nodes(reply["return"]);
  } else if (command == "query-jobs" || command == "query-block-jobs" ||
             command == "query-status" || command == "human-monitor-command") {
    kept["return"] = reply["return"];
  }
  return without_chance(replaced(kept, directory, "${dir}"));
}

// paused, running and standby, ready, where nothing comes between.
void drop_drain_pairs(std::vector<std::string>& events) {
  const auto has = [&](std::size_t at, const char* status) {
    return at < events.size() && events[at].contains(std::string("\"") + status + "\"");
  };
  for (std::size_t i = 0; i < events.size();) {
    const bool pair =
        (has(i, "paused") && has(i + 1, "running")) || (has(i, "standby") && has(i + 1, "ready"));
    if (pair)
      events.erase(events.begin() + static_cast<std::ptrdiff_t>(i),
                   events.begin() + static_cast<std::ptrdiff_t>(i) + 2);
    else
      ++i;
  }
}

class Player {
 public:
  Player(Session& session, Replay& replay)
      : hypervisor_(session.hypervisor()),
        directory_(session.files().directory()),
        replay_(replay) {}

  bool request(const Step& step) {
    const std::string command = step["execute"];
    const Json arguments = replaced(step.value("arguments", Json()), "${dir}", directory_);
    const auto reply = hypervisor_.execute(command, arguments);
    if (!reply) return fail(fmt::format("{}: {}", step.dump(), reply.error().detail));
    replay_.replies.push_back(comparable(command, *reply, directory_));
    return take_events();
  }

  bool await(const Step& step) {
    for (;; ++seen_) {
      if (seen_ == all_.size()) {
        const auto event = hypervisor_.next_event(kPatience);
        if (!event) return fail(event.error().detail);
        if (!*event) return fail("it never came: " + step.dump());
        keep(**event);
      }
      const Event& event = all_[seen_];
      if (event.name != step["await"].get<std::string>()) continue;
      if (step.contains("status") && event.data["status"] != step["status"]) continue;
      ++seen_;
      replay_.replies.emplace_back();
      return true;
    }
  }

  // Asks again and again, while the machine goes on, until the answer is the one waited for.
  bool until(const Step& step) {
    const Json::json_pointer place(step["at"].get<std::string>());
    for (int tries = 0; tries < 1000; ++tries) {
      const auto reply = hypervisor_.execute(step["until"]["execute"].get<std::string>(), nullptr);
      if (!reply) return fail(reply.error().detail);
      if (reply->contains(place) && (*reply)[place] == step["is"]) {
        replay_.replies.emplace_back();
        return take_events();
      }
      const auto event = hypervisor_.next_event(milliseconds(5));
      if (!event) return fail(event.error().detail);
      if (*event) keep(**event);
    }
    return fail("it never became so: " + step.dump());
  }

  bool play(const Step& step) {
    if (step.contains("await")) return await(step);
    return step.contains("until") ? until(step) : request(step);
  }

  // Everything that the machine has already said.
  bool take_events() {
    while (true) {
      const auto event = hypervisor_.poll_event();
      if (!event) return fail(event.error().detail);
      if (!*event) return true;
      keep(**event);
    }
  }

  bool fail(std::string text) {
    replay_.failure = std::move(text);
    return false;
  }

 private:
  void keep(const Event& event) {
    std::string job;
    for (const char* key : {"id", "device"})
      if (event.name.contains("JOB") && event.data.contains(key)) job = event.data[key];
    const Json data = without_chance(replaced(event.data, directory_, "${dir}"));
    replay_.events[job].push_back(event.name + " " + data.dump());
    all_.push_back(event);
  }

  Hypervisor& hypervisor_;
  std::string directory_;
  Replay& replay_;
  std::vector<Event> all_;
  std::size_t seen_ = 0;  // so many of `all_` were awaited, or passed over while waiting
};

Json add_file(const std::string& node, const std::string& file) {
  return {{"execute", "blockdev-add"},
          {"arguments",
           {{"driver", "file"},
            {"node-name", node},
            {"filename", "${dir}/" + file},
            {"auto-read-only", true},
            {"discard", "unmap"}}}};
}

Json add_format(int number, const Json& backing, bool read_only) {
  return {{"execute", "blockdev-add"},
          {"arguments",
           {{"driver", "qcow2"},
            {"node-name", fmt::format("libvirt-{}-format", number)},
            {"file", fmt::format("libvirt-{}-storage", number)},
            {"backing", backing},
            {"read-only", read_only}}}};
}

// As libvirt names and builds them: 3 <- 2 <- 1 is the chain, 4 the copy; 5 and 6 are spare copies.
std::vector<Step> set_up(const std::string& layout) {
  std::vector<Step> steps;
  if (layout == "none") return steps;
  const char* const names[] = {"", "snap2", "snap1", "base", "copy", "copy5", "copy6"};
  for (const int number : {3, 2, 1, 4, 5, 6}) {
    if (number > 4 && !layout.contains("copies")) continue;
    const bool chained = number < 3;
    steps.push_back(
        add_file(fmt::format("libvirt-{}-storage", number), std::string(names[number]) + ".qcow2"));
    steps.push_back(
        add_format(number, chained ? Json(fmt::format("libvirt-{}-format", number + 1)) : Json(),
                   number == 2 || number == 3));
  }
  if (layout.contains("without device")) return steps;
  steps.push_back(
      {{"execute", "device_add"},
       {"arguments",
        {{"driver", "virtio-blk-pci"}, {"id", "virtio-disk0"}, {"drive", "libvirt-1-format"}}}});
  return steps;
}

sim::Result<> fill(conformance::Files& files, const Images& images) {
  for (const auto& [name, bytes] : images) {
    const std::string path = files.directory() + "/" + name;
    TRY_OK(files.create(path, 0));
    if (!bytes.empty()) TRY_OK(files.write(path, 0, bytes));
  }
  return sim::ok();
}

}  // namespace

Replay replay(conformance::Target& target, const Images& images, const Sequence& sequence,
              bool skips_unsupported) {
  Replay result;
  auto session = target.open({});
  if (!session) {
    result.failure = session.error().detail;
    return result;
  }
  if (const auto filled = fill((*session)->files(), images); !filled) {
    result.failure = filled.error().desc;
    return result;
  }
  Player player(**session, result);
  for (const Step& step : set_up(sequence.layout)) {
    if (!player.request(step)) return result;
    if (result.replies.back().contains("error")) {
      result.failure = "set-up: " + result.replies.back().dump();
      return result;
    }
  }
  result.replies.clear();
  for (const Step& step : sequence.steps) {
    if (skips_unsupported && step.value("unsupported", false))
      result.replies.emplace_back();
    else if (!player.play(step))
      return result;
  }
  if (sequence.drain_pairs_vary)
    for (auto& [job, events] : result.events) drop_drain_pairs(events);
  return result;
}

}  // namespace differential
