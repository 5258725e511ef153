#include "conformance/scenario/read.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <span>

#include "sim/base/size.h"

namespace conformance {

std::uint64_t read_size(const Json& value, const std::string& place, FirstError& error) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (const std::string* text = value.get_ptr<const std::string*>())
    if (const auto size = sim::parse_size(*text)) return *size;
  error.report(place, "a size: bytes as an integer, or text such as \"64k\" or \"1M\"",
               "found " + value.dump());
  return 0;
}

namespace {

// One object of the file, and where it is.
class Object {
 public:
  Object(const Json& json, std::string place, FirstError& error)
      : json_(json), place_(std::move(place)), error_(error) {
    if (!json.is_object()) error_.report(place_, "an object", "found " + json.dump());
  }

  bool has(const char* key) const { return json_.is_object() && json_.contains(key); }
  const Json& operator[](const char* key) const {
    static const Json kNull;
    return has(key) ? json_.at(key) : kNull;
  }
  std::string place(const char* key) const { return member(place_, key); }
  const std::string& place() const { return place_; }

  std::string text(const char* key) const {
    const Json& value = (*this)[key];
    if (value.is_string()) return value.get<std::string>();
    error_.report(place(key), "a string", "found " + value.dump());
    return {};
  }
  std::uint64_t size(const char* key) const { return read_size((*this)[key], place(key), error_); }
  std::uint8_t byte(const char* key) const {
    const Json& value = (*this)[key];
    if (value.is_number_unsigned() && value.get<std::uint64_t>() <= 255)
      return value.get<std::uint8_t>();
    error_.report(place(key), "a byte: an integer from 0 to 255", "found " + value.dump());
    return 0;
  }
  // The index of the text in `names`.
  std::size_t one_of(const char* key, std::span<const std::string_view> names) const {
    return index_of(text(key), place(key), names);
  }
  std::vector<std::string> texts(const char* key,
                                 std::span<const std::string_view> names = {}) const {
    std::vector<std::string> result;
    if (!has(key)) return result;
    const Json& list = (*this)[key];
    if (!list.is_array()) error_.report(place(key), "an array", "found " + list.dump());
    for (std::size_t i = 0; list.is_array() && i < list.size(); ++i) {
      const std::string here = element(place(key), i);
      if (!list[i].is_string()) {
        error_.report(here, "a string", "found " + list[i].dump());
        continue;
      }
      result.push_back(list[i].get<std::string>());
      if (!names.empty()) index_of(result.back(), here, names);
    }
    return result;
  }
  // Nothing but these members.
  void only(std::initializer_list<std::string_view> keys) const {
    if (!json_.is_object()) return;
    for (const auto& [key, value] : json_.items())
      if (std::ranges::find(keys, key) == keys.end())
        error_.report(member(place_, key),
                      fmt::format("no such member here, only: {}", fmt::join(keys, ", ")));
  }
  FirstError& error() const { return error_; }

 private:
  std::size_t index_of(const std::string& text, const std::string& where,
                       std::span<const std::string_view> names) const {
    const auto found = std::ranges::find(names, text);
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
    error_.report(where, fmt::format("one of {}", fmt::join(names, ", ")),
                  fmt::format("found \"{}\"", text));
    return 0;
  }

  const Json& json_;
  std::string place_;
  FirstError& error_;
};

Write read_write(const Object& object) {
  Write write;
  if (object.has("write")) {
    write.kind = Write::Kind::data;
    write.pattern = object.byte("write");
    write.offset = object.size("at");
    write.length = object.size("length");
    return write;
  }
  write.kind = object.has("zero") ? Write::Kind::zero : Write::Kind::discard;
  const char* key = object.has("zero") ? "zero" : "discard";
  if (object[key] != Json(true)) object.error().report(object.place(key), "true");
  write.offset = object.size("at");
  write.length = object.size("length");
  return write;
}

// The bytes of a raw file, as the writes that make it so.
void read_text(const Object& object, Image& image) {
  if (image.format != Image::Format::raw || object.has("size") || object.has("writes"))
    object.error().report(object.place("text"), "a raw image without size and writes",
                          "the text is all that the file has");
  const std::string text = object.text("text");
  image.size = text.size();
  for (std::size_t i = 0; i < text.size(); ++i)
    image.writes.push_back({.kind = Write::Kind::data,
                            .offset = i,
                            .length = 1,
                            .pattern = static_cast<std::uint8_t>(text[i])});
}

Image read_image(const std::string& name, const Object& object) {
  Image image;
  image.name = name;
  image.file = object.has("file") ? object.text("file") : name;
  image.format = static_cast<Image::Format>(object.one_of("format", kImageFormats));
  if (object.has("text"))
    read_text(object, image);
  else
    image.size = object.size("size");
  if (object.has("cluster_size")) {
    if (image.format == Image::Format::raw)
      object.error().report(object.place("cluster_size"), "no cluster size for a raw image");
    image.cluster_size = object.size("cluster_size");
  }
  if (object.has("encryption")) {
    const Object encryption(object["encryption"], object.place("encryption"), object.error());
    encryption.only({"passphrase"});
    image.passphrase = encryption.text("passphrase");
    if (image.passphrase.empty() || image.format == Image::Format::raw)
      object.error().report(object.place("encryption"), "a passphrase for a qcow2 image");
  }
  if (object.has("backing")) image.backing = object.text("backing");
  if (object.has("backing_name")) image.backing_name = object.text("backing_name");
  const Json& writes = object["writes"];
  for (std::size_t i = 0; i < writes.size(); ++i)
    image.writes.push_back(
        read_write(Object(writes[i], element(object.place("writes"), i), object.error())));
  return image;
}

// Images in an order in which they can be made; among equals by name.
std::vector<Image> in_order(const std::map<std::string, Image>& images, const Draft& draft,
                            FirstError& error) {
  std::vector<Image> ordered;
  std::set<std::string> done;
  bool progress = true;
  while (ordered.size() < images.size() && progress) {
    progress = false;
    for (const auto& [name, image] : images) {
      if (done.contains(name) || (!image.backing.empty() && !done.contains(image.backing)))
        continue;
      ordered.push_back(image);
      done.insert(name);
      progress = true;
    }
  }
  for (const auto& [name, image] : images) {
    if (done.contains(name)) continue;
    const std::string place = member(draft.images.at(name).place, "backing");
    if (!images.contains(image.backing))
      error.report(place, fmt::format("the name of an image, not \"{}\"", image.backing),
                   "in " + draft.id);
  }
  for (const auto& [name, image] : images)
    if (!done.contains(name))
      error.report(member(draft.images.at(name).place, "backing"),
                   "a backing chain that ends, not a cycle", "in " + draft.id);
  return ordered;
}

std::optional<CallExpectation> read_expectation(const Object& step) {
  if (!step.has("expect")) return std::nullopt;
  const Object object(step["expect"], step.place("expect"), step.error());
  if (!object.has("error")) {
    object.only({"ok"});
    if (object["ok"] != Json(true))
      step.error().report(object.place(), R"({"ok": true} or {"error": {…}})");
    return CallExpectation{};
  }
  object.only({"error"});
  const Object failure(object["error"], object.place("error"), step.error());
  failure.only({"domain", "code", "message"});
  return CallExpectation{
      DomainError{failure.text("domain"), failure.text("code"), failure.text("message")}};
}

std::span<const std::string_view> flags_of(CallStep::Api api) {
  // No name of a flag: an empty list would allow all.
  static constexpr std::array<std::string_view, 1> kNoFlags = {"(none)"};
  switch (api) {
    case CallStep::Api::block_rebase:
      return kBlockRebaseFlags;
    case CallStep::Api::block_job_abort:
      return kBlockJobAbortFlags;
    case CallStep::Api::block_job_set_speed:
      return kBlockJobSetSpeedFlags;
    case CallStep::Api::block_pull:
      return kBlockPullFlags;
    case CallStep::Api::block_commit:
      return kBlockCommitFlags;
    case CallStep::Api::pull:
      return kPullFlags;
    case CallStep::Api::pull_all:
    case CallStep::Api::pull_info:
    case CallStep::Api::pull_abort:
      return kNoFlags;
    case CallStep::Api::block_copy:
      return kBlockCopyFlags;
    case CallStep::Api::snapshot_create:
      return kSnapshotCreateFlags;
    case CallStep::Api::snapshot_delete:
      return kSnapshotDeleteFlags;
    case CallStep::Api::snapshot_revert:
      return kSnapshotRevertFlags;
  }
  return {};
}

// A member that names an image, or is null; only some calls have it, and those must.
std::optional<std::string> read_image_name(const Object& step, const char* key, bool wanted) {
  if (!wanted) {
    if (step.has(key))
      step.error().report(step.place(key), fmt::format("no such member for {}", step.text("call")));
    return std::nullopt;
  }
  if (!step.has(key))
    step.error().report(step.place(), fmt::format("a member \"{}\": a path, or null", key));
  else if (!step[key].is_null())
    return step.text(key);
  return std::nullopt;
}

std::optional<std::uint64_t> read_cursor(const Object& step) {
  if (!step.has("cursor"))
    step.error().report(step.place(), R"(a member "cursor": a size in bytes, or null)");
  else if (!step["cursor"].is_null())
    return step.size("cursor");
  return std::nullopt;
}

CopyDestination read_destination(const Object& object) {
  CopyDestination destination;
  if (object.has("xml")) {
    object.only({"xml"});
    destination.xml = object.text("xml");
    return destination;
  }
  object.only({"file", "dev", "format", "backing"});
  destination.is_device = object.has("dev");
  if (destination.is_device == object.has("file"))
    object.error().report(object.place(), "one of file, dev, xml");
  else
    destination.path = object.text(destination.is_device ? "dev" : "file");
  if (object.has("format"))
    destination.format = object.one_of("format", kImageFormats) == 0
                             ? CopyDestination::Format::raw
                             : CopyDestination::Format::qcow2;
  const Json& backing = object["backing"];
  if (!backing.is_null() && !backing.is_array())
    object.error().report(object.place("backing"), "an array", "found " + backing.dump());
  for (std::size_t i = 0; backing.is_array() && i < backing.size(); ++i) {
    const std::string place = element(object.place("backing"), i);
    if (destination.terminated) object.error().report(place, "\"none\" at the end only");
    destination.terminated = backing[i] == Json("none");
    if (destination.terminated) continue;
    const Object layer(backing[i], place, object.error());
    layer.only({"file", "format"});
    destination.backing.push_back(
        {layer.text("file"), static_cast<Image::Format>(layer.one_of("format", kImageFormats))});
  }
  return destination;
}

// What blockCopy alone has.
void read_copy(const Object& step, CallStep& call) {
  if (call.api != CallStep::Api::block_copy) {
    for (const char* key : {"destination", "granularity", "buf-size"})
      if (step.has(key))
        step.error().report(step.place(key),
                            fmt::format("no such member for {}", step.text("call")));
    return;
  }
  if (step.has("destination"))
    call.destination =
        read_destination(Object(step["destination"], step.place("destination"), step.error()));
  else
    step.error().report(step.place(), "a member \"destination\"");
  if (step.has("granularity")) {
    const std::uint64_t granularity = step.size("granularity");
    call.granularity = static_cast<std::uint32_t>(granularity);
    if (call.granularity != granularity)
      step.error().report(step.place("granularity"), "a size below 4G");
  }
  if (step.has("buf-size")) call.buf_size = step.size("buf-size");
}

SnapshotDocument read_snapshot_document(const Object& step) {
  SnapshotDocument document;
  if (step.has("xml")) {
    for (const char* key : {"name", "disks", "memory"})
      if (step.has(key)) step.error().report(step.place(key), "xml alone");
    document.xml = step.text("xml");
    return document;
  }
  if (step.has("memory"))
    document.memory = kSnapshotModes.at(step.one_of("memory", std::span(kSnapshotModes).first(3)));
  if (!step.has("disks")) return document;
  const Json& disks = step["disks"];
  if (!disks.is_array())
    step.error().report(step.place("disks"), "an array", "found " + disks.dump());
  document.disks.emplace();
  for (std::size_t i = 0; disks.is_array() && i < disks.size(); ++i) {
    const Object disk(disks[i], element(step.place("disks"), i), step.error());
    disk.only({"disk", "snapshot", "file", "format"});
    SnapshotDocument::OfDisk of_disk{disk.text("disk"), {}, {}, {}};
    if (disk.has("snapshot"))
      of_disk.snapshot = kSnapshotModes.at(disk.one_of("snapshot", kSnapshotModes));
    if (disk.has("file")) of_disk.file = disk.text("file");
    if (disk.has("format")) of_disk.format = kImageFormats.at(disk.one_of("format", kImageFormats));
    document.disks->push_back(std::move(of_disk));
  }
  return document;
}

// Calls that concern a snapshot.
CallStep read_snapshot_call(const Object& step, CallStep::Api api) {
  CallStep call;
  call.api = api;
  const bool creates = api == CallStep::Api::snapshot_create;
  if (creates)
    step.only({"call", "name", "disks", "memory", "xml", "flags", "expect"});
  else
    step.only({"call", "name", "flags", "expect"});
  if (creates) call.snapshot = read_snapshot_document(step);
  if (call.snapshot.xml.empty()) call.name = step.text("name");
  call.flags = step.texts("flags", flags_of(api));
  call.expect = read_expectation(step);
  return call;
}

CallStep read_call(const Object& step) {
  using enum CallStep::Api;
  CallStep call;
  call.api = static_cast<CallStep::Api>(step.one_of("call", kApiNames));
  if (is_snapshot_call(call.api)) return read_snapshot_call(step, call.api);
  for (const char* key : {"name", "disks", "memory", "xml"})
    if (step.has(key))
      step.error().report(step.place(key), fmt::format("no such member for {}", step.text("call")));
  if (step.has("disk"))
    call.disk = step.text("disk");
  else
    step.error().report(step.place(), R"(a member "disk": the target of a disk)");
  call.expect = read_expectation(step);
  call.base = read_image_name(step, "base", call.api == block_rebase || call.api == block_commit);
  call.top = read_image_name(step, "top", call.api == block_commit);
  read_copy(step, call);
  call.flags = step.texts("flags", flags_of(call.api));
  if (call.api == pull)
    call.cursor = read_cursor(step);
  else if (step.has("cursor"))
    step.error().report(step.place("cursor"), fmt::format("no cursor for {}", step.text("call")));
  if (step.has("bandwidth")) {
    if (call.api == block_job_abort || is_proposed(call.api))
      step.error().report(step.place("bandwidth"),
                          fmt::format("no bandwidth for {}", step.text("call")));
    call.bandwidth = step.size("bandwidth");
  } else if (call.api == block_job_set_speed) {
    step.error().report(step.place(), "a member \"bandwidth\"");
  }
  return call;
}

QmpStep read_hmp(const Object& step) {
  return {"human-monitor-command", Json{{"command-line", step.text("hmp")}}, std::nullopt};
}

QmpStep read_qmp(const Object& step) {
  QmpStep qmp;
  qmp.command = step.text("qmp");
  qmp.arguments = step["arguments"];
  if (step.has("expect")) qmp.expect = step["expect"];
  for (const char* key : {"arguments", "expect"})
    if (step.has(key) && !step[key].is_object())
      step.error().report(step.place(key), "an object", "found " + step[key].dump());
  return qmp;
}

GuestStep read_guest(const Object& step) {
  using Operation = GuestStep::Operation;
  GuestStep guest;
  guest.operation = static_cast<Operation>(step.one_of("guest", kGuestOperations));
  guest.disk = step.text("disk");
  const bool has_pattern =
      guest.operation == Operation::write || guest.operation == Operation::read;
  const bool has_range = guest.operation != Operation::flush;
  if (has_range) {
    guest.offset = step.size("at");
    guest.length = step.size("length");
  }
  if (has_pattern) guest.pattern = step.byte("pattern");
  for (const auto& [key, wanted] : {std::pair<const char*, bool>{"pattern", has_pattern},
                                    {"at", has_range},
                                    {"length", has_range}})
    if (step.has(key) && !wanted)
      step.error().report(step.place(key),
                          fmt::format("no such member for \"{}\"", step.text("guest")));
  if (step.has("expect") && !has_range)
    step.error().report(step.place("expect"), "no such member for \"flush\"",
                        "QEMU's monitor does not say that a flush failed");
  else if (step.has("expect"))
    guest.error = Object(step["expect"], step.place("expect"), step.error()).text("error");
  return guest;
}

FaultStep read_fault(const Object& step) {
  const Object object(step["fault"], step.place("fault"), step.error());
  FaultStep fault;
  fault.on = object.text("on");
  fault.op = object.text("op");
  object.one_of("op", kFaultOperations);
  if (object.has("nth")) fault.nth = object.size("nth");
  if (fault.nth == 0) step.error().report(object.place("nth"), "a count from 1 on");
  if (object.has("errno")) {
    fault.number = object.text("errno");
    object.one_of("errno", kFaultNumbers);
  }
  fault.lasting = object["lasting"] == Json(true);
  return fault;
}

PowerCutStep read_power_cut(const Object& step) {
  if (step["power-cut"] != Json(true)) step.error().report(step.place("power-cut"), "true");
  return {};
}

RestStep read_rest(const Object& step) {
  if (step["wait-jobs"] != Json("rest")) step.error().report(step.place("wait-jobs"), "\"rest\"");
  return {};
}

WaitStep read_wait(const Object& step) {
  static constexpr std::array<std::string_view, 4> kStatuses = {"ready", "completed", "canceled",
                                                                "failed"};
  WaitStep wait;
  if (step.has("wait")) {
    wait.status = step.text("wait");
    step.one_of("wait", kStatuses);
    wait.disk = step.text("disk");
    return wait;
  }
  if (step.has("wait-job")) {
    wait.event = "JOB_STATUS_CHANGE";
    wait.data = {{"id", step.text("wait-job")}, {"status", step.text("status")}};
    return wait;
  }
  wait.event = step.text("wait-event");
  wait.data = step["data"];
  if (step.has("data") && !wait.data.is_object())
    step.error().report(step.place("data"), "an object", "found " + wait.data.dump());
  return wait;
}

CheckStep read_check(const Object& step) {
  CheckStep check;
  check.disk = step.text("check");
  if (step.has("guest")) check.guest = step.text("guest");
  if (step.has("chain")) check.chain = step.texts("chain");
  const auto name_or_none = [&](const Json& value) {
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  if (step.has("snapshots")) {
    check.snapshots.emplace();
    for (const auto& [name, parent] : step["snapshots"].items())
      (*check.snapshots)[name] = name_or_none(parent);
  }
  if (step.has("current")) check.current = name_or_none(step["current"]);
  return check;
}

Step read_step(const Placed& placed, FirstError& error) {
  const Object step(placed.value, placed.place, error);
  if (step.has("call")) return {read_call(step), placed.place};
  if (step.has("qmp")) return {read_qmp(step), placed.place};
  if (step.has("hmp")) return {read_hmp(step), placed.place};
  if (step.has("check")) return {read_check(step), placed.place};
  if (step.has("guest")) return {read_guest(step), placed.place};
  if (step.has("fault")) return {read_fault(step), placed.place};
  if (step.has("power-cut")) return {read_power_cut(step), placed.place};
  if (step.has("wait-jobs")) return {read_rest(step), placed.place};
  return {read_wait(step), placed.place};
}

}  // namespace

Scenario read_draft(const Draft& draft, FirstError& error) {
  Scenario scenario{.id = draft.id,
                    .file = error.file(),
                    .title = draft.title,
                    .because = draft.because,
                    .images = {},
                    .disks = {},
                    .persistent = draft.persistent,
                    .recipe = draft.recipe == "drive" ? CopyRecipe::drive : CopyRecipe::blockdev,
                    .steps = {},
                    .since = draft.since};
  if (draft.dialect == "as-proposed") scenario.dialect = Dialect::as_proposed;
  if (draft.files != "bytes")
    scenario.files = draft.files == "content" ? FileComparison::content : FileComparison::none;
  std::map<std::string, Image> images;
  for (const auto& [name, placed] : draft.images)
    images.emplace(name, read_image(name, Object(placed.value, placed.place, error)));
  scenario.images = in_order(images, draft, error);
  for (const Placed& placed : draft.disks) {
    const Object disk(placed.value, placed.place, error);
    scenario.disks.push_back({disk.text("target"), disk.text("source")});
  }
  if (draft.leases) scenario.leases.emplace();
  for (const Placed& placed : draft.leases.value_or(std::vector<Placed>())) {
    const Object lease(placed.value, placed.place, error);
    scenario.leases->push_back({lease.text("file"), lease.text("holder"),
                                static_cast<LeaseMode>(lease.one_of("mode", kLeaseModes))});
  }
  for (const Placed& placed : draft.steps) scenario.steps.push_back(read_step(placed, error));
  return scenario;
}

}  // namespace conformance
