// The measured table of real libvirt 9.0.0 with QEMU 7.2.22 (conformance/domain/testdata/), every
// row done again: images, blockRebase, waiting for READY, blockJobAbort with PIVOT.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "conformance/domain/domain.h"
#include "conformance/inspect/inspector.h"
#include "conformance/run/images.h"
#include "conformance/run/scenarios_for_test.h"
#include "conformance/target/transcript.h"

namespace conformance {
namespace {

using sim::operator""_KiB;
using sim::operator""_MiB;

const Json& table() {
  static const Json all = Json::parse(testing::text_of(
      UNDERSTUDY_SOURCE_DIR "/conformance/domain/testdata/libvirt_9_0_block_copy.json"));
  return all;
}

// --- the images as they were made for the measurement --------------------------------------------

Image image(const std::string& name, Image::Format format, std::uint64_t size,
            std::vector<Write> writes = {}, const std::string& backing = {}) {
  Image image;
  image.name = image.file = name;
  image.format = format;
  image.size = size;
  image.backing = backing;
  for (Write& write : writes) {  // a short member takes what there is room for
    if (write.offset >= size) continue;
    write.length = std::min(write.length, size - write.offset);
    image.writes.push_back(write);
  }
  return image;
}

std::vector<Write> written(std::uint64_t offset, std::uint64_t end, std::uint8_t byte) {
  return {{.kind = Write::Kind::data, .offset = offset, .length = end - offset, .pattern = byte}};
}

using enum Image::Format;

void add_source(Scenario& scenario, const std::string& source) {
  const bool chain = source.starts_with("chain3");
  scenario.disks = {{"vda", chain ? "snap2" : "src"}};
  if (!chain) {
    scenario.images = {image("src", source == "raw" ? raw : qcow2, 1_MiB, written(0, 768_KiB, 1))};
    return;
  }
  const bool sizes = source == "chain3-sizes";
  std::vector<Write> second = written(128_KiB, 256_KiB, 2);
  second.push_back(written(512_KiB, 576_KiB, 2).front());
  scenario.images = {image("base", source == "chain3-raw-base" ? raw : qcow2,
                           sizes ? 512_KiB : 1_MiB, written(0, 768_KiB, 1)),
                     image("snap1", qcow2, sizes ? 768_KiB : 1_MiB, second, "base"),
                     image("snap2", qcow2, 1_MiB, written(192_KiB, 320_KiB, 3), "snap1")};
}

void add_destination(Scenario& scenario, const std::string& destination) {
  if (destination == "absent") return;
  Image copy = image("copy", destination.starts_with("qcow2") ? qcow2 : raw, 1_MiB);
  if (destination == "empty") copy.size = 0;
  if (destination.ends_with("wrong-size")) copy.size = 512_KiB;
  if (destination.ends_with("old-data")) copy.writes = written(0, 1_MiB, 8);
  if (destination == "qcow2-right-backing") copy.backing = "snap1";
  if (destination == "qcow2-wrong-backing") {
    scenario.images.push_back(image("other", qcow2, 1_MiB, written(0, 1_MiB, 7)));
    copy.backing = "other";
  }
  scenario.images.push_back(copy);
}

// --- one row, as the measurement words it --------------------------------------------------------

class Row {
 public:
  explicit Row(const Json& row) {
    const std::string destination = row["dest"];
    add_source(scenario_, row["src"]);
    add_destination(scenario_, destination);
    flags_ = kRebaseCopy;
    for (const Json& flag : row["flags"]) flags_ |= bit(flag);
    auto session = testing::simulator().open({});
    session_ = *std::move(session);
    recorder_.emplace(session_->hypervisor(), transcript_);
  }

  Json run() {
    auto& simulated = dynamic_cast<SimSession&>(*session_);
    const auto made = make_images(scenario_, simulated.storage(), directory());
    EXPECT_TRUE(made) << made.error().desc;
    const Image& top =
        *std::ranges::find(scenario_.images, scenario_.disks[0].source, &Image::name);
    auto domain = Domain::start(
        *recorder_, files(),
        {.disks = {{"vda", directory() + "/" + top.file, top.format == raw ? "raw" : "qcow2"}}});
    if (!domain) return Json("the domain does not start");
    domain_ = *std::move(domain);
    const auto before = digests();
    transcript_.clear();
    Json seen;
    seen["call"] = answer(domain_->block_rebase("vda", directory() + "/copy", 0, flags_));
    if (seen["call"] == "ok") {
      finish(seen);
      seen["changed"] = changed(before);
    } else {
      EXPECT_EQ(digests(), before) << "a refused call has changed something";
    }
    seen["qmp"] = commands();
    return seen;
  }

 private:
  Files& files() { return session_->files(); }
  std::string directory() { return session_->files().directory(); }

  static std::uint32_t bit(const Json& flag) {
    return flag == "shallow"     ? kRebaseShallow
           : flag == "reuse-ext" ? kRebaseReuseExt
                                 : kRebaseCopyRaw;
  }

  std::string generic(std::string text) {
    const std::string name = directory();
    for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 6))
      text.replace(at, name.size(), "${dir}");
    return text;
  }

  Json answer(const DomainResult<void>& result) {
    if (result) return "ok";
    if (const auto* failure = std::get_if<TargetFailure>(&result.error())) return failure->detail;
    const auto& error = std::get<DomainError>(result.error());
    return {{"domain", error.domain}, {"code", error.code}, {"message", generic(error.message)}};
  }

  // Takes one event and says which it was.
  std::string take_event(Json& seen) {
    const auto event = domain_->next_event(std::chrono::seconds(30));
    if (!event || !*event) return "none";
    seen["events"].push_back({generic((*event)->path), (*event)->status});
    return (*event)->status;
  }

  void finish(Json& seen) {
    seen["ready"] = take_event(seen) == "READY";
    seen["pivot"] = answer(domain_->block_job_abort("vda", kAbortPivot));
    if (seen["ready"] == true) take_event(seen);
    const auto chain = domain_->chain("vda");
    seen["chain"] = Json::array();
    for (const ChainLink& link : chain->links)
      seen["chain"].push_back(link.format + ":" + link.path.substr(link.path.rfind('/') + 1));
    seen["terminated"] = chain->terminated;
    seen["guest"] = guest_digits();
    inspect_copy(seen);
    for (const TranscriptEntry& entry : transcript_) {
      if (entry.kind == TranscriptEntry::Kind::command && entry.name == "blockdev-mirror")
        seen["sync"] = entry.content["sync"];
      if (entry.kind == TranscriptEntry::Kind::reply && entry.name == "query-jobs")
        for (const Json& job : entry.content["return"])
          if (job.contains("error")) seen["job_error"] = job["error"];
    }
  }

  // One digit for each 64 KiB, asked for through the guest's device.
  std::string guest_digits() {
    const auto qdev = domain_->qdev("vda");
    Guest guest(session_->hypervisor(), *qdev);
    std::string digits;
    for (std::uint64_t at = 0; at < 1_MiB; at += 64_KiB) {
      char digit = '?';
      for (std::uint8_t byte = 0; byte < 10 && digit == '?'; ++byte)
        if (guest.reads_as(at, 64_KiB, byte).value_or(false)) digit = static_cast<char>('0' + byte);
      digits += digit;
    }
    EXPECT_TRUE(guest.flush());
    return digits;
  }

  void inspect_copy(Json& seen) {
    inspect::Inspector inspector(files());
    const std::string path = directory() + "/copy";
    const auto format = inspect::probe_format(files(), path);
    const auto layer = inspector.layer(path, *format);
    const inspect::ImageReport& report = (*layer)->report;
    const auto or_null = [&](const std::string& text) {
      return text.empty() ? Json() : Json(generic(text));
    };
    seen["header"] = {report.format, report.virtual_size, or_null(report.backing_file),
                      or_null(report.backing_format)};
    EXPECT_TRUE(report.check.clean()) << ::testing::PrintToString(report.check.details);
    const auto view = inspector.view(path, *format);
    std::string digits;
    for (std::uint64_t at = 0; at < report.virtual_size; at += 64_KiB) digits += digit(*view, at);
    seen["dest_view"] = digits;
  }

  static char digit(const inspect::View& view, std::uint64_t at) {
    const std::uint8_t first = byte_at(view, at).value;
    for (std::uint64_t i = at; i < at + 64_KiB; i += 512)
      if (byte_at(view, i).value != first) return '?';
    return static_cast<char>('0' + first);
  }

  std::map<std::string, std::uint64_t> digests() {
    std::map<std::string, std::uint64_t> all;
    for (const std::string& name : files().names())
      all[name] = *inspect::digest(files(), directory() + "/" + name);
    return all;
  }

  Json changed(const std::map<std::string, std::uint64_t>& before) {
    Json names = Json::array();
    for (const auto& [name, digest] : digests()) {
      const auto then = before.find(name);
      if (then == before.end())
        names.push_back("created " + name);
      else if (then->second != digest)
        names.push_back("modified " + name);
    }
    return names;
  }

  // What was sent, a transaction with what it holds.
  Json commands() {
    Json names = Json::array();
    for (const TranscriptEntry& entry : transcript_) {
      if (entry.kind != TranscriptEntry::Kind::command || entry.name == "human-monitor-command")
        continue;
      std::string name = entry.name;
      if (name == "transaction") {
        std::string types;
        for (const Json& action : entry.content["actions"])
          types += (types.empty() ? "" : ",") + action["type"].get<std::string>();
        name += "(" + types + ")";
      }
      names.push_back(name);
    }
    return names;
  }

  Scenario scenario_;
  std::uint32_t flags_ = 0;
  std::unique_ptr<Session> session_;
  Transcript transcript_;
  std::optional<RecordingHypervisor> recorder_;
  std::unique_ptr<Domain> domain_;
};

// The row's own outcome, with what the measurement abbreviates written out.
Json measured(const Json& row) {
  Json wanted = row;
  for (const char* name : {"src", "flags", "dest"}) wanted.erase(name);
  wanted["qmp"] = table()["sequences"][row["qmp"].get<std::size_t>()];
  return wanted;
}

TEST(ScenarioLibvirtTable, EveryRowComesOutAsLibvirtAndQemuWereSeenToDoIt) {
  std::set<std::string> ids;
  std::map<std::string, int> outcomes;
  for (const Json& row : table()["rows"]) {
    const std::string id = row["src"].dump() + row["flags"].dump() + row["dest"].dump();
    EXPECT_TRUE(ids.insert(id).second) << id;
    SCOPED_TRACE(id);
    const Json seen = Row(row).run();
    const Json wanted = measured(row);
    for (const auto& [key, value] : wanted.items()) {
      ASSERT_TRUE(seen.contains(key)) << key << " in " << seen.dump();
      EXPECT_EQ(seen[key], value) << key;
    }
    EXPECT_EQ(seen.size(), wanted.size()) << seen.dump();
    ++outcomes[seen["call"] != "ok" ? "refused" : seen["ready"] == true ? "ready" : "failed"];
  }
  // The whole product: 5 sources, 8 sets of flags, 10 destinations, of which two sources have no
  // right backing file.
  EXPECT_EQ(ids.size(), 5U * 8 * 10 - 2 * 8);
  EXPECT_EQ(outcomes["refused"], 178);
  EXPECT_EQ(outcomes["ready"], 110);
  EXPECT_EQ(outcomes["failed"], 96);
}

}  // namespace
}  // namespace conformance
