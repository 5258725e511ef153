// A machine's image locks and those of the real programs keep each other away.

#include <gtest/gtest.h>

#include <fstream>

#include "real-qemu/differential/shell.h"
#include "real-qemu/directory.h"
#include "real-qemu/qemu_target.h"
#include "sim/machine/machine.h"
#include "sim/storage/file.h"

namespace differential {
namespace {

using sim::Json;

class LocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto made = run_program({"qemu-img", "create", "-q", "-f", "qcow2", image_, "1M"}, "/");
    ASSERT_EQ(made.code, 0) << "qemu-utils is needed: " << made.err;
    (void)machine_.execute({{"execute", "qmp_capabilities"}});
  }

  Json add(bool read_only = false) {
    return {{"driver", "qcow2"},
            {"node-name", "n"},
            {"read-only", read_only},
            {"file", {{"driver", "file"}, {"filename", image_}}}};
  }
  // The error's text, empty if it succeeds.
  std::string said(const char* command, const Json& arguments) {
    const auto reply = machine_.execute({{"execute", command}, {"arguments", arguments}});
    return reply && reply->contains("error") ? (*reply)["error"]["desc"].get<std::string>() : "";
  }
  Ran qemu_img(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "qemu-img");
    arguments.push_back(image_);
    return run_program(arguments, "/");
  }

  real_qemu::PrivateDirectory directory_ =
      *real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
  std::string image_ = directory_.path() + "/image";
  sim::storage::RealFiles files_{sim::storage::Flush::unsafe};
  sim::machine::Machine machine_{files_, {.profile = sim::find_profile("7.2")}};
};

TEST_F(LocksTest, QemuImgIsRefusedWhatTheMachineWrites) {
  ASSERT_EQ(said("blockdev-add", add()), "");
  const Ran refused = qemu_img({"info"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("Failed to get shared \"write\" lock"), std::string::npos)
      << refused.err;
  EXPECT_EQ(qemu_img({"info", "-U"}).code, 0);
  EXPECT_EQ(qemu_img({"check", "-q"}).code, 1);
  ASSERT_EQ(said("blockdev-del", {{"node-name", "n"}}), "");
  EXPECT_EQ(qemu_img({"info"}).code, 0);
}

TEST_F(LocksTest, QemuImgMayReadWhatTheMachineReads) {
  ASSERT_EQ(said("blockdev-add", add(true)), "");
  EXPECT_EQ(qemu_img({"info"}).code, 0);
  const Ran refused = run_program({"qemu-img", "resize", "-q", image_, "2M"}, "/");
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("lock"), std::string::npos) << refused.err;
}

TEST_F(LocksTest, TheMachineIsRefusedWhatQemuWrites) {
  auto qemu = real_qemu::QemuTarget::find("qemu");
  ASSERT_TRUE(qemu) << qemu.error().detail;
  {
    auto session = (*qemu)->open({});
    ASSERT_TRUE(session) << session.error().detail;
    const auto reply = (*session)->hypervisor().execute("blockdev-add", add());
    ASSERT_TRUE(reply && reply->contains("return"));
    EXPECT_EQ(said("blockdev-add", add()), "Failed to get \"write\" lock");
    EXPECT_EQ(said("blockdev-add", add(true)), "Failed to get shared \"write\" lock");
  }
  EXPECT_EQ(said("blockdev-add", add()), "") << "the session has let go of it";
}

}  // namespace
}  // namespace differential
