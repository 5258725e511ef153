// virDomainBlockCopy as real libvirt 9.0 answers it, and what it sends.

#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"
#include "conformance/domain/watch_for_test.h"

namespace conformance {
namespace {

using testing::outcome_of;
using namespace std::chrono_literals;

void make_files(testing::MapFiles& files) {
  testing::make_source(files, "chain3");
  files.qcow2("pre");
  files.qcow2("over", testing::kDirectory + "/snap1");
  files.raw("rawpre");
  files.raw("empty", 0);
}

// What quotes the document is left out.
Json first_line(Json result) {
  if (result.is_object()) {
    const std::string message = result["message"];
    result["message"] = message.substr(0, message.find('\n'));
  }
  return result;
}

bool is_refused_by_qemu(const Json& result) {
  return result.is_object() &&
         result["message"].get<std::string>().contains("unable to execute QEMU command");
}

Json call(Domain& domain, const Json& step) {
  if (step["call"] == "blockJobAbort")
    return outcome_of(domain.block_job_abort("vda", step["flags"]));
  if (step["call"] == "blockCommit")
    return outcome_of(domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive));
  BlockCopyParameters parameters;
  parameters.bandwidth = step["params"].value("bandwidth", std::uint64_t{0});
  parameters.granularity = step["params"].value("granularity", 0U);
  parameters.buf_size = step["params"].value("buf-size", std::uint64_t{0});
  return outcome_of(domain.block_copy(step["disk"], step["xml"], parameters, step["flags"]));
}

// [command, arguments] without the queries.
Json commands_of(const testing::ObligingHypervisor& hypervisor) {
  Json commands = Json::array();
  for (const Json& command : hypervisor.commands) {
    const std::string name = command[0];
    if (!name.starts_with("query-") && name != "job-dismiss") commands.push_back(command);
  }
  return commands;
}

void perform(Domain& domain, testing::ObligingHypervisor& hypervisor, const Json& step) {
  hypervisor.commands.clear();
  const Json result = call(domain, step);
  while (true) {
    auto event = domain.next_event(1ms);
    if (!event || !*event) break;
  }
  const Json commands = commands_of(hypervisor);
  if (is_refused_by_qemu(step["result"])) {  // the oblige says yes
    EXPECT_EQ(commands.back(), step["sent"][commands.size() - 1]);
    return;
  }
  EXPECT_EQ(first_line(result), first_line(step["result"]));
  EXPECT_EQ(commands, step["sent"]);
  if (!step.contains("mirror")) return;
  const auto mirror = domain.mirror("vda");
  ASSERT_TRUE(mirror);
  EXPECT_EQ(mirror->has_value(), !step["mirror"].is_null());
  if (!*mirror || step["mirror"].is_null()) return;
  EXPECT_EQ(Json((*mirror)->path), step["mirror"]["file"]);
  EXPECT_EQ(Json((*mirror)->format), step["mirror"]["format"]);
  EXPECT_EQ(Json((*mirror)->job), step["mirror"]["job"]);
}

TEST(BlockCopyXml, IsLibvirts) {
  const Json all = testing::load("libvirt_9_0_block_copy_xml.json");
  unsigned played = 0;
  for (const Json& recorded : all["cases"]) {
    SCOPED_TRACE(recorded["title"]);
    const Json& first = recorded["steps"][0];
    if (first.value("params", Json::object()).contains("odd")) continue;  // there is no such member
    if (first["call"] == "blockCopy" && first["xml"].get<std::string>().contains("network"))
      continue;  // not in this version
    testing::MapFiles files;
    testing::ObligingHypervisor hypervisor;
    make_files(files);
    testing::Watch watch(hypervisor, files);
    auto domain =
        Domain::start(watch.order, files,
                      watch.over({.disks = {{"vda", testing::kDirectory + "/snap2", "qcow2"}},
                                  .persistent = recorded["persistent"].get<bool>()}));
    ASSERT_TRUE(domain);
    for (const Json& step : recorded["steps"]) {
      SCOPED_TRACE(step["call"]);
      perform(**domain, hypervisor, step);
      if (is_refused_by_qemu(step["result"])) break;
    }
    watch.expect_order();
    if (!*(*domain)->mirror("vda")) watch.expect_only_the_chain(**domain);
    ++played;
  }
  EXPECT_EQ(played, 71U);
}

TEST(BlockCopyXml, ADestinationThatIsNoFileIsNamed) {
  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  make_files(files);
  auto domain = *Domain::start(hypervisor, files,
                               {.disks = {{"vda", testing::kDirectory + "/snap2", "qcow2"}}});
  const Json answer = outcome_of(
      domain->block_copy("vda",
                         "<disk type='network'><driver type='raw'/><source protocol='nbd' name='x'>"
                         "<host name='localhost' port='1'/></source></disk>",
                         {}, 0));
  EXPECT_EQ(answer["code"], "NOT_IN_THIS_VERSION");
}

}  // namespace
}  // namespace conformance
