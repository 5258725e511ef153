// Drawing a conversation.  Everything comes from the Random that RapidCheck hands in.

#include <fmt/format.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>

#include "conformance/property/qmp_case.h"
#include "sim/base/bytes.h"
#include "sim/world/rng.h"

namespace conformance::property {

namespace {

using sim::operator""_KiB;

constexpr std::array<const char*, 5> kChain = {"base", "low", "mid", "top", "other"};
constexpr const char* kDevice = "/machine/peripheral/d/virtio-backend";

class Drawing {
 public:
  explicit Drawing(std::uint64_t seed) : rng_(seed) {}

  QmpCase draw() {
    draw_images();
    draw_nodes();
    for (std::uint64_t count = 2 + rng_.below(13); count > 0; --count) draw_command();
    return std::move(drawn_);
  }

 private:
  bool one_in(std::uint64_t n) { return rng_.below(n) == 0; }
  template <class T>
  T any_of(std::initializer_list<T> choices) {
    return choices.begin()[rng_.below(choices.size())];
  }
  const std::string& any_of(const std::vector<std::string>& choices) {
    return choices[rng_.below(choices.size())];
  }

  // --- images and nodes ---

  Image image(const std::string& name, std::uint64_t size) {
    Image image{.name = name, .file = name, .size = size, .backing = {}, .writes = {}};
    if (name == "raw") image.format = Image::Format::raw;
    image.cluster_size = any_of({4_KiB, 64_KiB, 64_KiB, 64_KiB});
    return image;
  }

  void draw_images() {
    const std::uint64_t size = any_of({64_KiB, 256_KiB, 1024_KiB, 1024_KiB, 1000_KiB});
    const std::uint64_t depth = 1 + rng_.below(4);
    for (std::uint64_t i = 0; i < depth; ++i) {
      Image& made = drawn_.images.emplace_back(image(kChain[i], one_in(4) ? size / 2 : size));
      if (i > 0) made.backing = kChain[i - 1];
      for (std::uint64_t count = rng_.below(4); count > 0; --count) {
        Write write{.kind = one_in(4) ? Write::Kind::zero : Write::Kind::data};
        if (write.kind == Write::Kind::data) write.pattern = std::uint8_t(i + 1);
        write.offset = rng_.below(made.size / 4_KiB) * 4_KiB;
        write.length = std::min(made.size - write.offset, any_of({4_KiB, 64_KiB, 512_KiB}));
        made.writes.push_back(write);
      }
    }
    top_ = kChain[depth - 1];
    drawn_.images.push_back(image("dst", one_in(5) ? size / 2 : size));
    drawn_.images.push_back(image("raw", size));
    has_room_ = size >= 512_KiB;
    for (const Image& made : drawn_.images) nodes_.push_back(made.name);
    nodes_.insert(nodes_.end(), {"flt", "nope"});
  }

  void step(std::string command, Json arguments) {
    if (one_in(25)) damage(arguments);
    drawn_.steps.push_back({std::move(command), std::move(arguments), std::nullopt});
  }

  // A member goes, gets another type, or one comes that nobody knows.
  void damage(Json& arguments) {
    if (!arguments.is_object() || arguments.empty()) return;
    auto member = arguments.begin();
    std::advance(member, rng_.below(arguments.size()));
    switch (rng_.below(4)) {
      case 0:
        arguments.erase(member);
        return;
      case 1:
        *member = any_of<Json>({Json(1), Json(-1), Json("?"), Json(true), Json::object(), Json()});
        return;
      case 2:
        arguments["unknown"] = 1;
        return;
      default:
        *member = "";
    }
  }

  Json node_options(const std::string& name) {
    const bool raw = name == "raw";
    Json options = {{"driver", raw ? "raw" : "qcow2"},
                    {"node-name", name},
                    {"file", {{"driver", "file"}, {"filename", "${dir}/" + name}}}};
    if (one_in(12)) options["read-only"] = true;
    if (one_in(6)) options["discard"] = "unmap";
    if (one_in(10)) options["detect-zeroes"] = any_of({"on", "unmap"});
    if (raw) return options;
    const auto made = std::ranges::find(drawn_.images, name, &Image::name);
    if (made != drawn_.images.end() && !made->backing.empty() && !one_in(6))
      options["backing"] = one_in(8) ? Json(any_of(nodes_)) : Json(made->backing);
    if (one_in(20)) options["backing"] = nullptr;
    return options;
  }

  void draw_nodes() {
    for (const Image& made : drawn_.images)
      if (!one_in(10)) {
        Json options = node_options(made.name);
        if (made.name != top_ && made.name != "dst" && made.name != "raw" && !one_in(4))
          options["read-only"] = true;
        step("blockdev-add", std::move(options));
      }
    if (one_in(2)) add_device();
  }

  void add_device() {
    Json arguments = {
        {"driver", "virtio-blk-pci"}, {"id", "d"}, {"drive", one_in(5) ? any_of(nodes_) : top_}};
    if (one_in(6)) arguments["share-rw"] = true;
    has_device_ = has_device_ || arguments["drive"] == "raw";
    step("device_add", std::move(arguments));
  }

  // --- commands ---

  std::string node() { return any_of(nodes_); }
  std::string chain_node() { return one_in(4) ? node() : top_; }
  std::string job() { return one_in(12) ? "nope" : any_of({"j", "j", "j", "k"}); }
  std::string bitmap() { return any_of({"b", "b", "c"}); }

  void draw_command() {
    switch (rng_.below(28)) {
      case 24:
        return internal_snapshot();
      case 25:
      case 26:
      case 27:
        return change();
      case 0:
      case 1:
        return stream();
      case 2:
      case 3:
        return commit();
      case 4:
      case 5:
      case 6:
        return mirror();
      case 7:
      case 8:
        return backup();
      case 9:
      case 10:
      case 11:
      case 12:
      case 13:
        return verb();
      case 14:
      case 15:
        return bitmap_command();
      case 16:
        return snapshot();
      case 17:
        return transaction();
      case 18:
        return one_in(2) ? step("blockdev-add", node_options(node())) : filter();
      case 19:
        return step("blockdev-del", {{"node-name", node()}});
      case 20:
        return query();
      case 21:
        return one_in(3) ? add_device() : change_backing_file();
      default:
        return guest();
    }
  }

  // What every job command has.
  Json job_arguments(bool errors = true) {
    Json arguments = {{"job-id", one_in(30) ? "" : any_of({"j", "j", "j", "k"})}};
    if (one_in(3)) arguments["speed"] = one_in(15) ? -1 : 1;
    if (one_in(3)) arguments["auto-finalize"] = !one_in(2);
    if (one_in(3)) arguments["auto-dismiss"] = !one_in(2);
    if (errors && one_in(8)) arguments["on-error"] = any_of({"report", "ignore", "stop", "enospc"});
    return arguments;
  }

  void stream() {
    Json arguments = job_arguments();
    arguments["device"] = chain_node();
    if (one_in(3)) arguments["base-node"] = node();
    if (one_in(8)) arguments["base"] = "${dir}/" + node();
    if (one_in(8)) arguments["bottom"] = node();
    if (one_in(8)) arguments["backing-file"] = node();
    if (one_in(4)) arguments["filter-node-name"] = "flt";
    step("block-stream", std::move(arguments));
  }

  void commit() {
    Json arguments = job_arguments();
    arguments["device"] = chain_node();
    if (one_in(2)) arguments["top-node"] = node();
    if (one_in(2)) arguments["base-node"] = node();
    if (one_in(8)) arguments["backing-file"] = node();
    if (one_in(4)) arguments["filter-node-name"] = "flt";
    note_mirror(arguments);
    step("block-commit", std::move(arguments));
  }

  void mirror() {
    Json arguments = job_arguments(false);
    arguments["device"] = chain_node();
    arguments["target"] = one_in(5) ? node() : any_of({"dst", "dst", "raw"});
    arguments["sync"] = any_of({"full", "full", "top", "none", "incremental"});
    // One request in flight, so that the target's clusters come in order.
    arguments["buf-size"] = 65536;
    if (one_in(4)) arguments["copy-mode"] = any_of({"background", "write-blocking"});
    if (one_in(6)) arguments["granularity"] = any_of({512, 4096, 65536, 1000});
    if (one_in(8)) arguments["replaces"] = node();
    if (one_in(4)) arguments["filter-node-name"] = "flt";
    if (one_in(8)) arguments["on-source-error"] = any_of({"report", "ignore", "stop", "enospc"});
    note_mirror(arguments);
    step("blockdev-mirror", std::move(arguments));
  }

  // While it waits to be finalized it holds the guest's requests (scenarios/qmp/jobs/
  // pending-mirror-guest.json): one that the monitor waits for would be the end.
  void note_mirror(const Json& arguments) {
    holds_guest_ = holds_guest_ || !arguments.value("auto-finalize", true);
  }

  Json backup_arguments() {
    Json arguments = job_arguments(false);
    arguments["device"] = chain_node();
    arguments["target"] = one_in(5) ? node() : any_of({"dst", "dst", "raw"});
    arguments["sync"] = any_of({"full", "full", "top", "none", "incremental", "bitmap"});
    if (one_in(3)) arguments["bitmap"] = bitmap();
    if (one_in(3)) arguments["bitmap-mode"] = any_of({"on-success", "never", "always"});
    if (one_in(5)) arguments["filter-node-name"] = "flt";
    return arguments;
  }
  void backup() { step("blockdev-backup", backup_arguments()); }

  void verb() {
    const std::string verb =
        any_of({"cancel", "complete", "pause", "resume", "finalize", "dismiss", "speed"});
    if (verb == "speed")
      return step("block-job-set-speed", {{"device", job()}, {"speed", one_in(4) ? 1 : 0}});
    const bool old = one_in(3);
    Json arguments = {{old && verb != "finalize" && verb != "dismiss" ? "device" : "id", job()}};
    if (old && verb == "cancel" && one_in(2)) arguments["force"] = true;
    step((old ? "block-job-" : "job-") + verb, std::move(arguments));
  }

  Json bitmap_at(const std::string& name) { return {{"node", chain_node()}, {"name", name}}; }
  std::pair<std::string, Json> bitmap_action() {
    Json arguments = bitmap_at(bitmap());
    switch (rng_.below(6)) {
      case 0:
      case 1:
        if (one_in(3)) arguments["granularity"] = any_of({512, 65536, 100});
        if (one_in(5)) arguments["disabled"] = true;
        if (one_in(3)) arguments["persistent"] = true;
        return {"block-dirty-bitmap-add", arguments};
      case 2:
        return {"block-dirty-bitmap-remove", arguments};
      case 3:
        return {"block-dirty-bitmap-clear", arguments};
      case 4:
        return {one_in(2) ? "block-dirty-bitmap-disable" : "block-dirty-bitmap-enable", arguments};
      default:
        arguments["target"] = arguments["name"];
        arguments.erase("name");
        arguments["bitmaps"] = one_in(2) ? Json{bitmap()} : Json{bitmap_at(bitmap())};
        return {"block-dirty-bitmap-merge", arguments};
    }
  }
  void bitmap_command() {
    auto [command, arguments] = bitmap_action();
    step(command, std::move(arguments));
  }

  std::pair<std::string, Json> snapshot_action() {
    if (one_in(2))
      return {"blockdev-snapshot",
              {{"node", chain_node()}, {"overlay", one_in(2) ? node() : "dst"}}};
    Json arguments = {{"node-name", chain_node()},
                      {"snapshot-file", any_of<std::string>({"", "", "", "file:"}) + "${dir}/" +
                                            (one_in(4) ? node() : "snap")},
                      {"snapshot-node-name", one_in(4) ? node() : "snap"}};
    if (one_in(4)) arguments["mode"] = any_of({"existing", "absolute-paths"});
    if (one_in(6)) arguments["format"] = any_of({"qcow2", "raw"});
    return {"blockdev-snapshot-sync", arguments};
  }
  void snapshot() {
    auto [command, arguments] = snapshot_action();
    step(command, std::move(arguments));
    if (std::ranges::find(nodes_, "snap") == nodes_.end()) nodes_.insert(nodes_.end(), "snap");
  }

  std::pair<std::string, Json> internal_action() {
    return {"blockdev-snapshot-internal-sync",
            {{"device", chain_node()}, {"name", any_of({"s", "s", "t", "1", ""})}}};
  }
  void internal_snapshot() {
    auto [command, arguments] = internal_action();
    if (!one_in(3)) return step(command, std::move(arguments));
    if (one_in(3)) arguments["id"] = any_of({"1", "2"});
    step("blockdev-snapshot-delete-internal-sync", std::move(arguments));
  }

  void transaction() {
    Json actions = Json::array();
    for (std::uint64_t count = 1 + rng_.below(3); count > 0; --count) {
      const std::uint64_t what = rng_.below(8);
      auto [type, data] = what < 4 ? bitmap_action()
                          : what < 6
                              ? std::pair<std::string, Json>("blockdev-backup", backup_arguments())
                          : what < 7 ? (one_in(3) ? internal_action() : snapshot_action())
                                     : std::pair<std::string, Json>("abort", Json::object());
      actions.push_back({{"type", type}, {"data", data}});
    }
    Json arguments = {{"actions", actions}};
    if (one_in(3))
      arguments["properties"] = {{"completion-mode", any_of({"individual", "grouped"})}};
    step("transaction", std::move(arguments));
  }

  void filter() {
    step("blockdev-add", one_in(2)
                             ? Json{{"driver", "raw"}, {"node-name", "flt"}, {"file", node()}}
                             : Json{{"driver", "null-co"}, {"node-name", "flt"}, {"size", 65536}});
  }

  void change_backing_file() {
    step("change-backing-file", {{"device", chain_node()},
                                 {"image-node-name", node()},
                                 {"backing-file", one_in(3) ? "" : node()}});
  }

  void query() {
    step(any_of({"query-named-block-nodes", "query-jobs", "query-block-jobs", "query-block"}),
         nullptr);
  }

  // What changes a node, or makes an image, without a guest or a job over the chain.
  void change() {
    switch (rng_.below(6)) {
      case 0:
        return step("block_resize", {{"node-name", chain_node()},
                                     {"size", any_of({0, 65536, 524288, 1048576, 2097152, 1000})}});
      case 1:
      case 2: {
        Json options = node_options(node());
        if (one_in(4)) options["read-only"] = true;
        return step("blockdev-reopen", {{"options", Json::array({std::move(options)})}});
      }
      case 3:
        return step("block-set-write-threshold",
                    {{"node-name", node()}, {"write-threshold", any_of({0, 4096, 700000})}});
      case 4: {
        // Only where the metadata has room, and beside no device: what QEMU writes beyond a node's
        // end, and what it says when it opens what it has made, is not simulated.
        Json options = {{"driver", "qcow2"},
                        {"file", one_in(6) || !has_room_ || has_device_ ? "nope" : "raw"},
                        {"size", any_of({65536, 1048576, 1000})}};
        if (one_in(4)) options["backing-file"] = "${dir}/" + node();
        if (one_in(6)) options["cluster-size"] = any_of({4096, 65536, 100});
        return step("blockdev-create",
                    {{"job-id", any_of({"j", "j", "k"})}, {"options", std::move(options)}});
      }
      default:
        return step("device_del", {{"id", one_in(4) ? "nope" : "d"}});
    }
  }

  void guest() {
    const std::uint64_t offset = rng_.below(256) * 4_KiB;
    const std::string what =
        holds_guest_
            ? any_of({fmt::format("aio_write -q -P {} {} 4k", 10 + rng_.below(5), offset),
                      fmt::format("aio_write -q -z {} 64k", offset),
                      fmt::format("aio_read -q {} 64k", offset)})
            : any_of({fmt::format("write -P {} {} 4k", 10 + rng_.below(5), offset),
                      fmt::format("write -P {} {} 64k", 10 + rng_.below(5), offset),
                      fmt::format("write -z {} 64k", offset), fmt::format("discard {} 64k", offset),
                      fmt::format("read -P 0 {} 4k", offset), std::string("flush")});
    drawn_.steps.push_back({"human-monitor-command",
                            {{"command-line", fmt::format("qemu-io -d {} \"{}\"", kDevice, what)}},
                            std::nullopt});
  }

  sim::Rng rng_;
  QmpCase drawn_;
  std::string top_;
  std::vector<std::string> nodes_;
  bool holds_guest_ = false;
  bool has_room_ = false;
  bool has_device_ = false;  // on "raw"
};

}  // namespace

rc::Gen<QmpCase> qmp_cases() {
  return [](const rc::Random& random, int) {
    return rc::shrinkable::shrinkRecur(
        Drawing(rc::Random(random).next()).draw(),
        [](const QmpCase& from) { return rc::seq::fromContainer(smaller(from)); });
  };
}

}  // namespace conformance::property
