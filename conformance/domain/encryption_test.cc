// Images of a chain that have passphrases of their own: what is sent, when it goes, and that a
// status holds none of them.

#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"
#include "sim/base/base64.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;

// snap2 (plain) over snap1 and base, encrypted with different passphrases.
struct Encrypted {
  Encrypted() : top(testing::make_source(files, "chain3")) {
    definition.disks = {{"vda", top, "qcow2", {{kDirectory + "/base", "the lowest"}}}};
    definition.disks[0].passphrases[kDirectory + "/snap1"] = "neither above";
    definition.keep_status = [this](const std::string& status) { statuses.push_back(status); };
  }
  std::unique_ptr<Domain> start() {
    auto started = Domain::start(hypervisor, files, definition);
    EXPECT_EQ(outcome_of(started), "ok");
    return *std::move(started);
  }
  // Of the commands sent, those of this name: their arguments.
  std::vector<Json> arguments_of(const std::string& name) const {
    std::vector<Json> found;
    for (const Json& command : hypervisor.commands)
      if (command[0] == name) found.push_back(command[1]);
    return found;
  }

  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  std::string top;
  DomainDefinition definition;
  std::vector<std::string> statuses;
};

// A secret object is there before the node that names it.
TEST(Encryption, EachLayerHasItsOwnSecret) {
  Encrypted on;
  on.start();
  EXPECT_EQ(on.hypervisor.sent,
            (std::vector<std::string>{"blockdev-add", "object-add", "blockdev-add", "blockdev-add",
                                      "object-add", "blockdev-add", "blockdev-add", "blockdev-add",
                                      "device_add"}));
  // Base64 by hand (base64(1)).
  const auto objects = on.arguments_of("object-add");
  ASSERT_EQ(objects.size(), 2U);
  EXPECT_EQ(objects[0], Json::parse(R"({"qom-type": "secret", "format": "base64",
    "id": "libvirt-3-format-encryption-secret0", "data": "dGhlIGxvd2VzdA=="})"));
  EXPECT_EQ(objects[1], Json::parse(R"({"qom-type": "secret", "format": "base64",
    "id": "libvirt-2-format-encryption-secret0", "data": "bmVpdGhlciBhYm92ZQ=="})"));
  const auto nodes = on.arguments_of("blockdev-add");
  const Json expected =
      Json::parse(R"({"format": "luks", "key-secret": "libvirt-3-format-encryption-secret0"})");
  EXPECT_EQ(nodes[1]["encrypt"], expected);
  EXPECT_EQ(nodes[3]["encrypt"]["key-secret"], "libvirt-2-format-encryption-secret0");
  EXPECT_FALSE(nodes[5].contains("encrypt"));
}

TEST(Encryption, SecretsGoWithTheirNodes) {
  Encrypted on;
  const auto domain = on.start();
  ASSERT_EQ(outcome_of(domain->block_rebase("vda", kDirectory + "/base", 0, 0)), "ok");
  on.hypervisor.commands.clear();
  ASSERT_TRUE(domain->next_event(1ms).has_value());
  const Json gone = Json::parse(R"([
    ["blockdev-del", {"node-name": "libvirt-2-format"}],
    ["blockdev-del", {"node-name": "libvirt-2-storage"}],
    ["object-del", {"id": "libvirt-2-format-encryption-secret0"}]])");
  const Json sent = on.hypervisor.commands;
  ASSERT_GE(sent.size(), 3U);
  EXPECT_EQ(Json(sent.end() - 3, sent.end()), gone) << sent;
}

// What is made anew has no passphrase, though it may take the place of a file that had one.
TEST(Encryption, CopiesArePlain) {
  Encrypted on;
  const auto domain = on.start();
  ASSERT_EQ(outcome_of(domain->block_rebase("vda", kDirectory + "/copy", 0, kRebaseCopy)), "ok");
  ASSERT_TRUE(domain->next_event(1ms).has_value());
  ASSERT_EQ(outcome_of(domain->block_job_abort("vda", kAbortPivot)), "ok");
  EXPECT_EQ(on.arguments_of("object-add").size(), 2U);
  EXPECT_EQ(on.arguments_of("object-del").size(), 2U);
  ASSERT_EQ(outcome_of(domain->block_rebase("vda", kDirectory + "/base", 0,
                                            kRebaseCopy | kRebaseReuseExt)),
            "ok");
  EXPECT_EQ(on.arguments_of("object-add").size(), 2U);
  EXPECT_FALSE(on.arguments_of("blockdev-add").back().contains("encrypt"));
}

// A client that takes over removes the secrets, and needs to know none.
TEST(Encryption, StatusHoldsNoPassphrase) {
  Encrypted on;
  {
    const auto domain = on.start();
    ASSERT_EQ(outcome_of(domain->block_rebase("vda", kDirectory + "/base", 0, 0)), "ok");
  }
  ASSERT_FALSE(on.statuses.empty());
  for (const std::string& status : on.statuses)
    for (const std::string phrase : {"the lowest", "neither above"}) {
      EXPECT_FALSE(status.contains(phrase)) << status;
      EXPECT_FALSE(status.contains(sim::encode_base64(phrase))) << status;
    }
  auto again = Domain::reconnect(on.hypervisor, on.files, on.statuses.back());
  ASSERT_EQ(outcome_of(again), "ok");
  EXPECT_EQ(on.arguments_of("object-add").size(), 2U);
  EXPECT_EQ(on.arguments_of("object-del").size(), 1U);
}

TEST(Encryption, RefusalIsQemus) {
  Encrypted on;
  on.hypervisor.refusals[{"blockdev-add", 1}] = "Invalid password, cannot unlock any keyslot";
  EXPECT_EQ(outcome_of(Domain::start(on.hypervisor, on.files, on.definition)),
            (Json{{"domain", "QEMU"},
                  {"code", "INTERNAL_ERROR"},
                  {"message",
                   "unable to execute QEMU command 'blockdev-add': Invalid password, cannot unlock "
                   "any keyslot"}}));
}

}  // namespace
}  // namespace conformance
