// Snapshots as real libvirt 9.0 takes, deletes and refuses them.  The oracle is its log.

#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;

const Json& recordings() {
  static const Json all = testing::load("libvirt_9_0_snapshots.json");
  return all;
}

// The first link of each chain is the disk's; what libvirt found beneath, by name and format.
void make_chain(testing::MapFiles& files, const std::string& prefix, bool relative = false) {
  const std::string directory = relative ? "" : kDirectory + "/";
  files.qcow2(prefix + "base");
  files.qcow2(prefix + "snap1", directory + prefix + "base");
  files.qcow2(prefix + "snap2", directory + prefix + "snap1");
}

std::vector<DiskDefinition> make_disks(testing::MapFiles& files, const std::string& source) {
  const auto disk = [](const std::string& target, const std::string& name,
                       const std::string& format = "qcow2") {
    return DiskDefinition{target, kDirectory + "/" + name, format};
  };
  files.qcow2("pre");
  files.raw("rawpre");
  files.raw("empty", 0);
  if (source == "raw") {
    files.raw("src");
    return {disk("vda", "src", "raw")};
  }
  if (source == "qcow2" || source == "qcow2-raw") {
    files.qcow2("src");
    if (source == "qcow2") return {disk("vda", "src")};
    files.raw("raw");
    return {disk("vda", "src"), disk("vdb", "raw", "raw")};
  }
  make_chain(files, "", source == "relative");
  if (source == "two" || source == "chain3") files.qcow2("over", kDirectory + "/snap2");
  if (source == "two") {
    make_chain(files, "b-");
    return {disk("vda", "snap2"), disk("vdb", "b-snap2")};
  }
  if (source == "shared") {
    files.qcow2("other", kDirectory + "/snap1");
    return {disk("vda", "snap2"), disk("vdb", "other")};
  }
  return {disk("vda", "snap2")};
}

// A hypervisor that says yes to a domain's start, and then follows a script.
class ScriptedAfterStart final : public Hypervisor {
 public:
  bool started = false;
  testing::ScriptedHypervisor scripted;
  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    if (!started) return Json{{"return", Json::object()}};
    return scripted.execute(command, arguments);
  }
  Outcome<std::optional<Event>> poll_event() override { return scripted.poll_event(); }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override {
    return scripted.next_event(limit);
  }
};

Json call(Domain& domain, const Json& call) {
  const std::string name = call[0];
  if (name == "create") {
    auto created = domain.snapshot_create_xml(call[1], call[2]);
    return created ? Json(*created) : outcome_of(created);
  }
  if (name == "delete") return outcome_of(domain.snapshot_delete(call[1], call[2]));
  if (name == "revert") return outcome_of(domain.snapshot_revert(call[1], call[2]));
  if (name == "abort") return outcome_of(domain.block_job_abort("vda", call[1]));
  if (name == "pull") return outcome_of(domain.block_pull("vda", call[1], call[2]));
  if (name == "commit" && call.size() == 1)
    return outcome_of(domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive));
  if (name == "commit") return outcome_of(domain.block_commit("vda", call[1], call[2], 0, call[3]));
  if (name == "list") return domain.snapshot_tree().names({}, call[1]);
  if (name == "children") return domain.snapshot_tree().names(call[1], call[2]);
  if (name == "wait") return "ok";
  return "unknown call " + name;
}

bool is_left_out(const Json& step) {
  const std::string name = step["call"][0];
  return name == "guest" || name == "current" || name == "parent" || name == "num";
}

// What this version leaves out, and what is no snapshot's business: starts, ends.  The recording
// ends there.
bool ends_here(const Json& step) {
  const Json& call = step["call"];
  if (step.value("restarts", false)) return true;
  for (const char* name : {"destroy", "start", "resume", "suspend"})
    if (call[0] == name) return true;
  if (call[0] != "create" || step["result"].is_object()) return false;
  const std::string document = call[1];
  const std::uint32_t flags = call[2];
  return (flags & kSnapshotHalt) != 0 || document.find("file='${dir}/mem'") != std::string::npos ||
         document.find("<memory snapshot='external'") != std::string::npos ||
         document.find("<memory file=") != std::string::npos ||
         document.find("'qed'") != std::string::npos;
}

Json tree_of(Domain& domain) {
  Json tree = Json::array();
  for (const SnapshotInfo& info : *domain.snapshots())
    tree.push_back({info.name, info.parent, info.current});
  return tree;
}

class PlaySnapshots : public ::testing::TestWithParam<std::size_t> {
 protected:
  void perform(Domain& domain, const Json& step) {
    SCOPED_TRACE(step["call"].dump());
    hypervisor.scripted.play(step["qmp"]);
    EXPECT_EQ(call(domain, step["call"]), step["result"]);
    Json events = Json::array();
    while (true) {
      auto event = domain.next_event(1ms);
      ASSERT_TRUE(event.has_value());
      if (!*event) break;
      events.push_back({(*event)->disk, (*event)->status, (*event)->type});
    }
    EXPECT_EQ(events, step.value("events", Json::array()));
    EXPECT_TRUE(hypervisor.scripted.finished());
    for (const auto& [target, active] : step.value("active", Json::object()).items()) {
      const Chain chain = *domain.chain(target);
      EXPECT_EQ(chain.links.front().path, active[0].get<std::string>());
      EXPECT_EQ(chain.links.size(), active[2].get<std::size_t>());
      // This hypervisor writes nothing, and libvirt takes an empty file for none.
      std::string& file = files.files[chain.links.front().path];
      if (file.empty()) file = "written";
    }
    if (step.contains("tree")) EXPECT_EQ(tree_of(domain), step["tree"]);
  }

  testing::MapFiles files;
  ScriptedAfterStart hypervisor;
};

TEST_P(PlaySnapshots, IsLibvirts) {
  const Json& recorded = recordings()["cases"][GetParam()];
  SCOPED_TRACE(recorded["title"]);
  const bool is_running = !recorded["paused"].get<bool>();
  auto started = Domain::start(
      hypervisor, files,
      {.disks = make_disks(files, recorded["source"]), .persistent = recorded["persistent"]});
  ASSERT_EQ(outcome_of(started), "ok");
  Domain& domain = **started;
  hypervisor.started = true;
  if (is_running) {
    hypervisor.scripted.play(Json::array({{"!", "RESUME", Json::object()}}));
    ASSERT_TRUE(domain.next_event(1ms).has_value());
  }
  bool complete = true;
  for (const Json& step : recorded["steps"]) {
    if (ends_here(step)) {
      complete = false;
      break;
    }
    if (is_left_out(step)) continue;
    perform(domain, step);
  }
  if (!complete) return;
  std::set<std::string> there;
  for (const Json& file : recorded["files"])
    there.insert(kDirectory + "/" + file["file"].get<std::string>());
  for (const auto& [path, content] : files.files) EXPECT_TRUE(there.contains(path)) << path;
  for (const std::string& path : there) EXPECT_TRUE(files.files.contains(path)) << path;
}

// Those whose domain and whose names this version can make.
std::vector<std::size_t> playable() {
  std::vector<std::size_t> numbers;
  const Json& cases = recordings()["cases"];
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Json& recorded = cases[i];
    const std::string source = recorded["source"];
    if (source == "readonly" || source == "transient") continue;
    const Json& first = recorded["steps"][0]["call"];
    // The name is the time.
    const bool has_no_name =
        first[0] == "create" && (first[1].get<std::string>().find("<name>") == std::string::npos ||
                                 first[1].get<std::string>().find("<name></") != std::string::npos);
    if (!has_no_name || recorded["steps"][0]["result"].is_object()) numbers.push_back(i);
  }
  return numbers;
}

INSTANTIATE_TEST_SUITE_P(Libvirt, PlaySnapshots, ::testing::ValuesIn(playable()),
                         [](const auto& row) {
                           std::string name =
                               recordings()["cases"][row.param]["id"].template get<std::string>();
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name + "_" + std::to_string(row.param);
                         });

// --- refusals ------------------------------------------------------------------------------------

struct Prepared {
  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  std::unique_ptr<Domain> domain;

  Prepared(const std::string& source, const std::string& state) {
    const auto is = [&](const char* word) { return state.find(word) != std::string::npos; };
    hypervisor.running = is("running");
    domain = *Domain::start(hypervisor, files,
                            {.disks = make_disks(files, source), .persistent = !is("transient")});
    const std::uint32_t flags = is("external") ? kSnapshotDiskOnly : 0U;
    if (is("external") || is("internal"))
      for (const char* name : {"s1", "s2"})
        EXPECT_TRUE(domain->snapshot_create_xml(
            "<domainsnapshot><name>" + std::string(name) + "</name></domainsnapshot>", flags));
    hypervisor.held = is("pull");
    if (is("pull")) EXPECT_TRUE(domain->block_pull("vda", 0, 0));
    if (is("ready"))
      EXPECT_TRUE(domain->block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive));
    while (true) {
      auto event = domain->next_event(1ms);
      if (!event || !*event) break;
    }
    hypervisor.sent.clear();
  }
};

TEST(Snapshots, RefuseWhatLibvirtRefuses) {
  const Json all = testing::load("libvirt_9_0_snapshot_errors.json");
  unsigned refused = 0;
  for (const Json& row : all["rows"]) {
    if (!row["result"].is_object()) continue;
    SCOPED_TRACE(row.dump());
    Prepared prepared(row["source"], row["state"]);
    const auto before = prepared.files.files;
    // Memory in a file is what this version leaves out, past all checks of the request.
    const Json answer = call(*prepared.domain, row["call"]);
    if (answer.is_object() && answer["code"] == "NOT_IN_THIS_VERSION") continue;
    EXPECT_EQ(answer, row["result"]);
    EXPECT_EQ(prepared.files.files, before);
    EXPECT_EQ(prepared.hypervisor.sent.size(), row["sent"].size());
    ++refused;
  }
  EXPECT_GT(refused, 1600U);
}

// As real libvirt 9.0 said when the matrix domain/snapshot-tree ran on it; the recordings are of
// persistent domains.
TEST(Snapshots, ATransientDomainMustBeToldHowToGoOnFromADiskOnlyOne) {
  Prepared prepared("chain3", "paused transient external");
  const Json told = outcome_of(prepared.domain->snapshot_revert("s1", 0));
  EXPECT_EQ(told["message"],
            "transient domain needs to request run or pause to revert to inactive snapshot");
  const Json paused = outcome_of(prepared.domain->snapshot_revert("s1", kSnapshotRevertPaused));
  EXPECT_EQ(paused["message"], "revert to external snapshot not supported yet");
}

TEST(Snapshots, AcceptWhatLibvirtAccepts) {
  const Json all = testing::load("libvirt_9_0_snapshot_errors.json");
  unsigned accepted = 0;
  for (const Json& row : all["rows"]) {
    if (row["result"].is_object()) continue;
    SCOPED_TRACE(row.dump());
    Prepared prepared(row["source"], row["state"]);
    const Json answer = call(*prepared.domain, row["call"]);
    if (answer.is_object() && answer["code"] == "NOT_IN_THIS_VERSION") continue;
    EXPECT_EQ(answer, row["result"]);
    ++accepted;
  }
  EXPECT_GT(accepted, 60U);
}

}  // namespace
}  // namespace conformance
