#include "real-libvirt/monitor_log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "real-qemu/directory.h"

namespace real_libvirt {
namespace {

using conformance::to_line;

class MonitorLogTest : public ::testing::Test {
 protected:
  void write(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  std::string take() {
    const auto entry = log_.take();
    return entry ? to_line(*entry) : "nothing";
  }

  real_qemu::PrivateDirectory place_ =
      *real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
  std::string path_ = place_.path() + "/log";
  MonitorLog log_{path_};
};

const std::string kSend =
    "2026-01-01 00:00:00.000+0000: 7: info : qemuMonitorSend:861 : QEMU_MONITOR_SEND_MSG: mon=0x55 "
    "msg={\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"a msg={\"},\"id\":\"libvirt-3\"}\r\n"
    " fd=-1\n";
const std::string kReply =
    "2026-01-01 00:00:00.000+0000: 7: info : qemuMonitorJSONIOProcessLine:208 : "
    "QEMU_MONITOR_RECV_REPLY: mon=0x55 reply={\"return\": {}, \"id\": \"libvirt-3\"}\n";
const std::string kEvent =
    "2026-01-01 00:00:00.000+0000: 7: info : qemuMonitorJSONIOProcessLine:203 : "
    "QEMU_MONITOR_RECV_EVENT: mon=0x55 event={\"timestamp\": {\"seconds\": 1}, \"event\": "
    "\"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"a\"}}\n";

TEST_F(MonitorLogTest, GivesMessagesInTheirOrder) {
  EXPECT_EQ(take(), "nothing");  // there is no file
  write("2026-01-01 00:00:00.000+0000: 7: error : someone:1 : something else\n" + kSend + kEvent +
        kReply);
  EXPECT_EQ(take(), R"(-> job-dismiss {"id":"a msg={"})");
  EXPECT_EQ(take(), R"(!! JOB_STATUS_CHANGE {"id":"a"})");
  EXPECT_EQ(take(), R"(<- {"return":{}})");
  EXPECT_EQ(take(), "nothing");
}

TEST_F(MonitorLogTest, WaitsForTheEndOfALine) {
  write(kEvent.substr(0, 150));
  EXPECT_EQ(take(), "nothing");
  write(kEvent.substr(150));
  EXPECT_EQ(take(), R"(!! JOB_STATUS_CHANGE {"id":"a"})");
}

TEST_F(MonitorLogTest, LeavesOutWhatIsToBeIgnored) {
  write(kSend + kReply + kEvent);
  log_.ignore("libvirt-3");
  EXPECT_EQ(take(), R"(!! JOB_STATUS_CHANGE {"id":"a"})");
  EXPECT_EQ(take(), "nothing");
}

// A revert starts QEMU anew, and with it the numbers.
TEST_F(MonitorLogTest, IgnoresMessagesOfOneRunOnly) {
  write(kSend + kReply);
  log_.ignore("libvirt-3");
  std::string greeting = kSend;
  greeting.replace(greeting.find("job-dismiss"), 11, "qmp_capabilities");
  write(greeting + kSend);
  EXPECT_EQ(take(), R"(-> qmp_capabilities {"id":"a msg={"})");
  EXPECT_EQ(take(), R"(-> job-dismiss {"id":"a msg={"})");
}

TEST_F(MonitorLogTest, ForgetsWhatWasBefore) {
  write(kSend + kReply);
  log_.clear();
  EXPECT_EQ(take(), "nothing");
  write(kEvent);
  EXPECT_EQ(take(), R"(!! JOB_STATUS_CHANGE {"id":"a"})");
}

}  // namespace
}  // namespace real_libvirt
