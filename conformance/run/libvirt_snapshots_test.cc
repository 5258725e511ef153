// The model against what real libvirt 9.0 and QEMU 7.2 left behind: each recorded sequence of
// snapshots (conformance/domain/testdata/libvirt_9_0_snapshots.json) done to a model.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "conformance/domain/xml/snapshot.h"
#include "conformance/model/domain_model.h"
#include "conformance/run/recorded_for_test.h"
#include "sim/base/json.h"
#include "sim/base/size.h"

namespace conformance {
namespace {

using model::DomainModel;
using sim::Json;
using testing::digits;
using sim::operator""_KiB;
using sim::operator""_MiB;

constexpr std::uint64_t kUnit = testing::kRecordedUnit;

const Json& recordings() {
  static const Json all = testing::recorded("libvirt_9_0_snapshots.json");
  return all;
}

void add_chain(DomainModel& model, const std::string& prefix, bool relative = false) {
  struct Written {
    const char* name;
    std::uint64_t from, count;
    std::uint8_t pattern;
  };
  std::string below;
  for (const Written& layer :
       {Written{"base", 0, 12, 1}, Written{"snap1", 2, 2, 2}, Written{"snap2", 3, 2, 3}}) {
    model::ImageSpec spec{.name = prefix + layer.name, .size = 1_MiB, .backing = below};
    if (relative) spec.backing_string = below;
    model.add_image(spec);
    model.fill(spec.name, layer.from * kUnit, layer.count * kUnit, layer.pattern);
    below = spec.name;
  }
}

void make_domain(DomainModel& model, const std::string& source) {
  model.add_image({.name = "pre", .size = 1_MiB});
  model.add_image({.name = "rawpre", .format = model::Format::raw, .size = 1_MiB});
  model.add_image({.name = "empty", .format = model::Format::raw, .size = 0});
  if (source == "raw" || source == "qcow2" || source == "qcow2-raw") {
    const bool raw = source == "raw";
    model.add_image(
        {.name = "src", .format = raw ? model::Format::raw : model::Format::qcow2, .size = 1_MiB});
    if (!raw) model.fill("src", 0, 12 * kUnit, 1);
    model.add_disk("vda", "src");
    if (source != "qcow2-raw") return;
    model.add_image({.name = "raw", .format = model::Format::raw, .size = 1_MiB});
    model.add_disk("vdb", "raw");
    return;
  }
  add_chain(model, "", source == "relative");
  if (source == "chain3" || source == "two")
    model.add_image({.name = "over", .size = 1_MiB, .backing = "snap2"});
  model.add_disk("vda", "snap2");
  if (source == "two") {
    add_chain(model, "b-");
    model.add_disk("vdb", "b-snap2");
  } else if (source == "shared") {
    model.add_image({.name = "other", .size = 1_MiB, .backing = "snap1"});
    model.add_disk("vdb", "other");
  }
}

model::SnapshotMode mode_of(const std::string& word) {
  const std::map<std::string, model::SnapshotMode> modes = {
      {"", model::SnapshotMode::unsaid},
      {"no", model::SnapshotMode::none},
      {"internal", model::SnapshotMode::internal},
      {"external", model::SnapshotMode::external},
      {"manual", model::SnapshotMode::manual}};
  return modes.at(word);
}

model::CallPrediction create(DomainModel& model, const Json& call) {
  const std::uint32_t flags = call[2];
  const auto use = (flags & kSnapshotDiskOnly) != 0 ? xml::SnapshotUse::disks_alone
                                                    : xml::SnapshotUse::requested;
  const auto document = xml::parse_domain_snapshot(call[1], use);
  model::CallPrediction unknown;
  unknown.unknown = "the document is refused, or says what the model does not read";
  if (!document) return unknown;
  model::SnapshotRequest request{.name = document->name, .disks = {}};
  if (document->memory) request.memory = mode_of(document->memory->snapshot);
  for (const xml::SnapshotDisk& disk : document->disks.value_or(std::vector<xml::SnapshotDisk>{})) {
    model::SnapshotRequest::OfDisk of_disk{disk.name, mode_of(disk.snapshot)};
    if (disk.source) of_disk.path = disk.source->path;
    if (disk.source && disk.source->format == "raw") of_disk.format = model::Format::raw;
    if (disk.source && disk.source->format == "qed") return unknown;
    request.disks.push_back(std::move(of_disk));
  }
  return model.snapshot_create(request, flags);
}

model::CallPrediction perform(DomainModel& model, const Json& call) {
  const std::string name = call[0];
  if (name == "create") return create(model, call);
  if (name == "delete") return model.snapshot_delete(call[1], call[2]);
  if (name == "revert") return model.snapshot_revert(call[1], call[2]);
  if (name == "guest") {
    model.guest_write(call[1], call[3].get<std::uint64_t>() * kUnit,
                      call[4].get<std::uint64_t>() * kUnit, call[2]);
    return {};
  }
  model::CallPrediction unknown;
  unknown.unknown = "not a snapshot's business";
  return unknown;
}

void compare_files(const DomainModel& model, const Json& recorded) {
  std::map<std::string, model::FileExpectation> expected;
  for (const model::FileExpectation& file : model.files()) expected.emplace(file.name, file);
  EXPECT_EQ(expected.size(), recorded.size());
  for (const Json& file : recorded) {
    SCOPED_TRACE(file.dump());
    const auto found = expected.find(file["file"]);
    ASSERT_NE(found, expected.end());
    EXPECT_EQ(model::name_of(found->second.layer.format()), file["format"].get<std::string>());
    const Json& backing = file["backing"];
    EXPECT_EQ(found->second.backing_string, backing.is_null() ? "" : backing.get<std::string>());
    std::vector<std::string> snapshots;
    for (const auto& [name, layer] : found->second.snapshots) snapshots.push_back(name);
    auto kept = file["snapshots"].get<std::vector<std::string>>();
    std::ranges::sort(kept);
    EXPECT_EQ(snapshots, kept);
    // QEMU was killed: what of an active image was in its caches is not in the file.
    bool has_active = false;
    for (const std::string& name : found->second.cold_chain)
      for (const char* target : {"vda", "vdb"})
        has_active = has_active || (model.has_disk(target) &&
                                    model.chain(target).links.front().path == "/d/" + name);
    if (!has_active)
      EXPECT_EQ(digits(model.cold_view(file["file"])), file["view"].get<std::string>());
  }
}

class RecordedSnapshots : public ::testing::TestWithParam<std::size_t> {};

// As far as the model has an opinion.
TEST_P(RecordedSnapshots, AreWhatTheModelSays) {
  const Json& recorded = recordings()["cases"][GetParam()];
  SCOPED_TRACE(recorded["title"]);
  DomainModel model("/d");
  make_domain(model, recorded["source"]);
  if (recorded["persistent"]) model.set_persistent();
  for (const Json& step : recorded["steps"]) {
    SCOPED_TRACE(step["call"].dump());
    const model::CallPrediction prediction = perform(model, step["call"]);
    if (prediction.unknown) return;
    EXPECT_EQ(prediction.accepted(), !step["result"].is_object());
    if (prediction.refusal && step["result"].is_object())
      EXPECT_EQ(prediction.refusal->message, step["result"]["message"].get<std::string>());
    if (!step.contains("tree")) continue;
    Json tree = Json::array();
    for (const model::SnapshotExpectation& one : model.snapshots())
      tree.push_back({one.name, one.parent, one.current});
    EXPECT_EQ(tree, step["tree"]);
    for (const auto& [target, active] : step.value("active", Json::object()).items())
      EXPECT_EQ(model.chain(target).links.front().path, active[0].get<std::string>());
  }
  compare_files(model, recorded["files"]);
}

// The model knows no guest that runs, and no disk that is read-only or transient.
std::vector<std::size_t> known() {
  std::vector<std::size_t> cases;
  for (std::size_t i = 0; i < recordings()["cases"].size(); ++i) {
    const Json& recorded = recordings()["cases"][i];
    const std::string source = recorded["source"];
    if (recorded["paused"] && source != "readonly" && source != "transient") cases.push_back(i);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Libvirt, RecordedSnapshots, ::testing::ValuesIn(known()),
                         [](const auto& row) { return "case_" + std::to_string(row.param); });

}  // namespace
}  // namespace conformance
