// The commands that real libvirt sent, and what it made of the answers: the oracle is its log.

#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"
#include "conformance/domain/watch_for_test.h"

namespace conformance {
namespace {

using testing::outcome_of;
using namespace std::chrono_literals;

std::uint32_t rebase_flags(const Json& names) {
  const std::map<std::string, std::uint32_t> values = {
      {"COPY", kRebaseCopy},
      {"SHALLOW", kRebaseShallow},
      {"REUSE-EXT", kRebaseReuseExt},
      {"COPY-RAW", kRebaseCopyRaw},
      {"BANDWIDTH-BYTES", kRebaseBandwidthBytes},
      {"shallow", kRebaseShallow},
      {"reuse-ext", kRebaseReuseExt},
      {"copy-raw", kRebaseCopyRaw},
  };
  std::uint32_t flags = kRebaseCopy;
  for (const Json& name : names) flags |= values.at(name);
  return flags;
}

Json to_json(const std::optional<MirrorState>& mirror) {
  if (!mirror) return nullptr;
  return Json::array({mirror->path, mirror->format, mirror->job, mirror->ready});
}

// Takes every event there is: [path, status].
void take_events(Domain& domain, Json& events) {
  while (true) {
    auto event = domain.next_event(1ms);
    ASSERT_TRUE(event.has_value());
    if (!*event) return;
    EXPECT_EQ((*event)->disk, "vda");
    EXPECT_EQ((*event)->type, "COPY");
    events.push_back({(*event)->path, (*event)->status});
  }
}

const Json& sequences() {
  static const Json all = testing::load("libvirt_9_0_block_copy_qmp.json");
  return all;
}

class Sequence : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Json& recorded() const { return sequences()["cases"][GetParam()]; }
  // Makes the call of a step and compares its answer.
  void call(Domain& domain, const Json& step, const std::string& target) {
    const std::string name = step["call"];
    Json result = "ok";
    if (name == "blockRebase")
      result = outcome_of(domain.block_rebase("vda", target, recorded()["bandwidth"],
                                              rebase_flags(recorded()["flags"])));
    if (name == "blockJobAbort") result = outcome_of(domain.block_job_abort("vda", step["flags"]));
    if (name == "blockJobSetSpeed")
      result = outcome_of(domain.block_job_set_speed("vda", step["bandwidth"], step["flags"]));
    if (name == "blockJobInfo")
      for (std::uint32_t flags : {0U, 1U}) {
        auto info = domain.block_job_info("vda", flags);
        ASSERT_TRUE(info.has_value() && info->has_value());
        EXPECT_EQ(Json::array({(*info)->bandwidth, (*info)->cur, (*info)->end}),
                  step["info"][flags]);
      }
    EXPECT_EQ(result, step["result"]);
  }

  testing::MapFiles files;
  testing::ScriptedHypervisor hypervisor;
};

TEST_P(Sequence, IsLibvirts) {
  SCOPED_TRACE(recorded()["title"]);
  const std::string id = recorded()["id"];
  const std::string source = recorded()["source"];
  files.directories.insert(testing::kDirectory + "/sub");
  const std::string top = testing::make_source(files, source, id == "x4" || id == "x5");
  testing::make_destination(files, recorded()["dest"]);
  hypervisor.play(testing::start_script(sequences()["sources"][source]));
  testing::Watch watch(hypervisor, files);
  auto started = Domain::start(watch.order, files,
                               watch.over({.disks = {{"vda", top, testing::format_of(source)}}}));
  ASSERT_EQ(outcome_of(started), "ok");
  EXPECT_TRUE(hypervisor.finished());
  Domain& domain = **started;

  std::string target = testing::kDirectory + "/copy";
  if (!recorded()["mirror"].is_null()) target = recorded()["mirror"][0];
  Json events = Json::array();
  for (const Json& step : recorded()["steps"]) {
    SCOPED_TRACE(step["call"]);
    hypervisor.play(step["qmp"]);
    call(domain, step, target);
    if (step["call"] == "blockJobAbort" && recorded().contains("mirror_after_async")) {
      EXPECT_EQ(to_json(*domain.mirror("vda")), recorded()["mirror_after_async"]);
    }
    take_events(domain, events);
    EXPECT_TRUE(hypervisor.finished());
    if (step["call"] == "blockRebase") {
      EXPECT_EQ(to_json(*domain.mirror("vda")), recorded()["mirror"]);
    }
  }
  EXPECT_EQ(events, recorded()["events"]);
  auto chain = domain.chain("vda");
  Json links = Json::array();
  for (const ChainLink& link : chain->links)
    links.push_back({link.format, link.path.substr(link.path.rfind('/') + 1)});
  Json expected = Json::array();
  for (const Json& link : recorded()["chain"]) expected.push_back({link[0], link[1]});
  EXPECT_EQ(links, expected);
  EXPECT_EQ(chain->terminated, recorded()["terminated"].get<bool>());
  watch.expect_order();
  if (!*domain.mirror("vda")) watch.expect_only_the_chain(domain);
}

INSTANTIATE_TEST_SUITE_P(Libvirt, Sequence,
                         ::testing::Range(std::size_t{0}, sequences()["cases"].size()),
                         [](const auto& row) {
                           return sequences()["cases"][row.param]["id"].template get<std::string>();
                         });

// Every row of the measured matrix: answers, events, chain, and which commands went out.
TEST(BlockCopy, AnswersAsTheTruthTableSays) {
  const Json table = testing::load("libvirt_9_0_block_copy.json");
  ASSERT_EQ(table["rows"].size(), 384U);
  for (const Json& row : table["rows"]) {
    SCOPED_TRACE(row.dump());
    testing::MapFiles files;
    testing::ObligingHypervisor hypervisor;
    hypervisor.mirror_error = row.value("job_error", "");
    const std::string source = row["src"];
    const std::string top = testing::make_source(files, source);
    testing::make_destination(files, row["dest"]);
    testing::Watch watch(hypervisor, files);
    auto started = Domain::start(watch.order, files,
                                 watch.over({.disks = {{"vda", top, testing::format_of(source)}}}));
    ASSERT_EQ(outcome_of(started), "ok");
    Domain& domain = **started;
    const auto before = files.files;
    hypervisor.sent.clear();

    EXPECT_EQ(outcome_of(domain.block_rebase("vda", testing::kDirectory + "/copy", 0,
                                             rebase_flags(row["flags"]))),
              row["call"]);
    if (row["call"] != "ok") {
      EXPECT_EQ(Json(hypervisor.sent), table["sequences"][row["qmp"].get<std::size_t>()]);
      EXPECT_EQ(files.files, before);
      watch.expect_order();
      watch.expect_only_the_chain(domain);
      continue;
    }
    Json events = Json::array();
    take_events(domain, events);
    EXPECT_EQ(outcome_of(domain.block_job_abort("vda", kAbortPivot)), row["pivot"]);
    take_events(domain, events);
    EXPECT_EQ(events, row["events"]);
    EXPECT_EQ(Json(hypervisor.sent), table["sequences"][row["qmp"].get<std::size_t>()]);
    EXPECT_EQ(hypervisor.mirrors.at(0)["sync"], row["sync"]);
    Json links = Json::array();
    const Chain chain = *domain.chain("vda");
    for (const ChainLink& link : chain.links)
      links.push_back(link.format + ":" + link.path.substr(link.path.rfind('/') + 1));
    EXPECT_EQ(links, row["chain"]);
    EXPECT_EQ(chain.terminated, row["terminated"].get<bool>());
    watch.expect_order();
    watch.expect_only_the_chain(domain);
  }
}

}  // namespace
}  // namespace conformance
