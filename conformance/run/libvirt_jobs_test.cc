// The model against what real libvirt 9.0 and QEMU 7.2 left behind: each recorded pull, rebase and
// commit (conformance/domain/testdata/libvirt_9_0_jobs_qmp.json) done to a model.

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

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
  static const Json all = testing::recorded("libvirt_9_0_jobs_qmp.json");
  return all;
}

// The chain as it was made for the measurement; returns the active image.
std::string make_chain(DomainModel& model, const std::string& source) {
  const bool raw_base = source == "raw" || source.contains("-raw");
  const bool single = !source.starts_with("chain");
  const bool short_base = source.ends_with("-sizes");
  model::ImageSpec base{.name = single ? "src" : "base",
                        .format = raw_base ? model::Format::raw : model::Format::qcow2,
                        .size = short_base ? 512_KiB : 1_MiB};
  model.add_image(base);
  model.fill(base.name, 0, (short_base ? 8 : 12) * kUnit, 1);
  const std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>> written = {
      {{2, 2}, {8, 1}}, {{3, 2}}, {{6, 1}}};
  std::string below = base.name;
  for (unsigned layer = 1; !single && layer < unsigned(source.at(5) - '0'); ++layer) {
    model::ImageSpec spec{.name = "snap" + std::to_string(layer), .size = 1_MiB, .backing = below};
    if (source.contains("-relative")) spec.backing_string = below;
    model.add_image(spec);
    for (const auto& [from, count] : written.at(layer - 1))
      model.fill(spec.name, from * kUnit, count * kUnit, static_cast<std::uint8_t>(layer + 1));
    below = spec.name;
  }
  model.add_disk("vda", below);
  return below;
}

std::optional<std::string> name_of(const Json& name) {
  if (name.is_null()) return std::nullopt;
  return name.get<std::string>();
}

model::CallPrediction call(DomainModel& model, const Json& step) {
  const std::string name = step["call"];
  const std::string disk = step.value("disk", "vda");
  const std::uint32_t flags = step.value("flags", 0U);
  const std::uint64_t bandwidth = step.value("bandwidth", std::uint64_t{0});
  if (name == "blockPull") return model.block_pull(disk, bandwidth, flags);
  if (name == "blockRebase")
    return model.block_rebase(disk, name_of(step["base"]), bandwidth, flags);
  if (name == "blockCommit")
    return model.block_commit(disk, name_of(step["base"]), name_of(step["top"]), bandwidth, flags);
  if (name == "blockJobAbort") return model.block_job_abort(disk, flags);
  if (name == "blockJobSetSpeed") return model.block_job_set_speed(disk, bandwidth, flags);
  return {};
}

// What the hypervisor told during the step.
void tell(DomainModel& model, const Json& step) {
  for (const Json& entry : step["qmp"]) {
    if (entry[0] != "!" || !model.has_job("vda")) continue;
    const bool ready = entry[1] == "JOB_STATUS_CHANGE" && entry[2]["status"] == "ready";
    if (ready && !model.ready("vda")) model.on_ready("vda");
    if (entry[1] == "BLOCK_JOB_COMPLETED" && model.ends_by_itself("vda")) model.on_completed("vda");
  }
}

// Both digits where the model has one.
std::string known_of(const std::string& recorded, const std::string& predicted) {
  std::string known = recorded;
  for (std::size_t i = 0; i < known.size() && i < predicted.size(); ++i)
    if (predicted[i] == '?') known[i] = '?';
  return known;
}

// Null is no text.
std::string text_of(const Json& text) {
  return text.is_null() ? std::string() : text.get<std::string>();
}

void compare_files(const DomainModel& model, const Json& recorded) {
  std::map<std::string, model::FileExpectation> expected;
  for (const model::FileExpectation& file : model.files()) expected.emplace(file.name, file);
  for (const Json& file : recorded) {
    SCOPED_TRACE(file.dump());
    const std::string name = file["file"];
    EXPECT_EQ(expected.contains(name), file.value("exists", true));
    const auto found = expected.find(name);
    if (found == expected.end() || found->second.in_use || !file.value("exists", true)) continue;
    EXPECT_EQ(model::name_of(found->second.layer.format()), text_of(file["format"]));
    EXPECT_EQ(found->second.layer.size(), file["size"].get<std::uint64_t>());
    EXPECT_EQ(found->second.backing_string, text_of(file["backing"]));
    EXPECT_EQ(found->second.backing_format, text_of(file["backing_format"]));
    const std::string predicted = digits(model.cold_view(name));
    EXPECT_EQ(predicted, known_of(text_of(file["view"]), predicted));
  }
}

// Those whose images were not broken on purpose (f15…): a model's images are whole.  What libvirt
// does with the others is played in conformance/domain/block_jobs_test.cc.
std::vector<std::size_t> whole() {
  std::vector<std::size_t> cases;
  for (std::size_t i = 0; i < recordings()["cases"].size(); ++i)
    if (!recordings()["cases"][i]["id"].get<std::string>().starts_with("f15")) cases.push_back(i);
  return cases;
}

class Recorded : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Recorded, IsWhatTheModelSays) {
  const Json& recorded = recordings()["cases"][GetParam()];
  SCOPED_TRACE(recorded["title"]);
  DomainModel model("/d");
  make_chain(model, recorded["source"]);
  for (const Json& step : recorded["steps"]) {
    SCOPED_TRACE(step["call"]);
    const model::CallPrediction prediction = call(model, step);
    ASSERT_FALSE(prediction.unknown) << *prediction.unknown;
    EXPECT_EQ(prediction.accepted(), step["result"] == "ok");
    if (prediction.refusal)
      EXPECT_EQ(Json::array({prediction.refusal->domain, prediction.refusal->code,
                             prediction.refusal->message}),
                Json::array(
                    {step["result"]["domain"], step["result"]["code"], step["result"]["message"]}));
    tell(model, step);
  }
  Json events = Json::array();
  for (const model::ExpectedEvent& event : model.events())
    events.push_back({event.path, event.status, event.type});
  EXPECT_EQ(events, recorded["events"]);
  Json chain = Json::array();
  for (const auto& link : model.chain("vda").links)
    chain.push_back({link.format, link.path.substr(link.path.rfind('/') + 1)});
  Json live = Json::array();
  for (const Json& link : recorded["chain"]) live.push_back({link[0], link[1]});
  EXPECT_EQ(chain, live);
  const std::string guest = digits(model.guest_view("vda"));
  EXPECT_EQ(guest, text_of(recorded["guest"]));
  compare_files(model, recorded["files"]);
}

INSTANTIATE_TEST_SUITE_P(Libvirt, Recorded, ::testing::ValuesIn(whole()), [](const auto& row) {
  return recordings()["cases"][row.param]["id"].template get<std::string>();
});

}  // namespace
}  // namespace conformance
