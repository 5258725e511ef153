#include "real-qemu/process.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "real-qemu/installed.h"

namespace real_qemu {
namespace {

using std::chrono::milliseconds;

class ProcessTest : public ::testing::Test {
 protected:
  PrivateDirectory place_ = std::move(*PrivateDirectory::make(scratch_place()));

  // A program that is a shell script.
  std::string script(const std::string& text) {
    const std::string file = place_.path() + "/qemu-system-x86_64";
    std::ofstream(file) << "#!/bin/sh\n" << text;
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file;
  }
  ProcessOptions options(std::string program) const {
    return {.program = std::move(program),
            .place = place_.path(),
            .arguments = {},
            .limits = {.start = milliseconds(20'000),
                       .reply = milliseconds(20'000),
                       .end = milliseconds(5000)}};
  }
  std::string start_failure(const ProcessOptions& options) {
    auto process = Process::start(options);
    if (process) return "it started";
    EXPECT_EQ(process.error().kind, TargetFailure::Kind::harness);
    return process.error().detail;
  }
  // Private directories that are left.
  std::ptrdiff_t left() const {
    return std::count_if(std::filesystem::directory_iterator(place_.path()), {},
                         [](const auto& entry) { return entry.is_directory(); });
  }
};

TEST_F(ProcessTest, AStartThatFailsSaysWhatTheProgramSaid) {
  EXPECT_EQ(start_failure(options(
                script("echo 'could not load PC BIOS' >&2\necho 'giving up' >&2\nexit 1\n"))),
            "QEMU did not start: qemu-system-x86_64 exited with status 1; it said: "
            "could not load PC BIOS | giving up");
  EXPECT_EQ(start_failure(options(script("kill -SEGV $$\n"))),
            "QEMU did not start: qemu-system-x86_64 was ended by signal 11 (Segmentation fault)");
  EXPECT_EQ(start_failure(options(place_.path() + "/none")),
            "cannot start " + place_.path() + "/none: No such file or directory");
  EXPECT_EQ(left(), 0);
}

TEST_F(ProcessTest, AStartThatHangsIsGivenUp) {
  auto slow = options(script("exec tail -f /dev/null\n"));
  slow.limits.start = milliseconds(50);
  EXPECT_EQ(start_failure(slow),
            "QEMU did not start: qemu-system-x86_64 (is running): no QMP greeting within 50 ms");
  EXPECT_EQ(left(), 0);
}

TEST_F(ProcessTest, AWrongOptionIsToldByQemu) {
  auto wrong = options(locate("qemu", {})->program);
  wrong.arguments = {"-nonsense"};
  EXPECT_TRUE(start_failure(wrong).contains("exited with status 1; it said: "));
  EXPECT_TRUE(start_failure(wrong).contains("-nonsense: invalid option"));
}

TEST_F(ProcessTest, AnswersAndLeavesNothingBehind) {
  pid_t pid = 0;
  {
    auto process = Process::start(options(locate("qemu", {})->program));
    ASSERT_TRUE(process) << process.error().detail;
    pid = (*process)->pid();
    auto status = (*process)->execute("query-status", nullptr);
    ASSERT_TRUE(status);
    EXPECT_EQ((*status)["return"]["status"], "prelaunch");
    EXPECT_EQ(left(), 1);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(left(), 0);
}

TEST_F(ProcessTest, AfterQuitThereAreNoMoreEvents) {
  auto process = Process::start(options(locate("qemu", {})->program));
  ASSERT_TRUE(process) << process.error().detail;
  ASSERT_TRUE((*process)->execute("quit", nullptr));
  EXPECT_FALSE((*process)->usable());
  auto event = (*process)->next_event(milliseconds(20'000));
  ASSERT_TRUE(event && *event);
  EXPECT_EQ((*event)->name, "SHUTDOWN");
  event = (*process)->next_event(milliseconds(20'000));
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
}

// A thread of QEMU's fills the file while its monitor answers.
TEST_F(ProcessTest, IsAtWorkWhileARequestToAFileIsUnderWay) {
  auto started = Process::start(options(locate("qemu", {})->program));
  ASSERT_TRUE(started) << started.error().detail;
  Process& qemu = **started;
  const std::string file = place_.path() + "/file";
  std::ofstream(file).close();
  const Json create = {
      {"driver", "file"}, {"filename", file}, {"size", 64 << 20}, {"preallocation", "full"}};
  ASSERT_TRUE(qemu.execute("blockdev-create", {{"job-id", "j"}, {"options", create}}));
  bool worked = false;
  for (std::string status; status != "concluded";) {
    auto jobs = qemu.execute("query-jobs", {});
    ASSERT_TRUE(jobs) << jobs.error().detail;
    status = (*jobs)["return"][0]["status"];
    worked = worked || qemu.is_at_work();
  }
  EXPECT_TRUE(worked);
  const auto limit = std::chrono::steady_clock::now() + milliseconds(20'000);
  bool works = true;
  while (works && std::chrono::steady_clock::now() < limit) works = qemu.is_at_work();
  EXPECT_FALSE(works);
}

// What the emulator prints arrives with the answer, and only once.
TEST_F(ProcessTest, QemuIoAnswersWithWhatItPrinted) {
  auto started = Process::start(options(locate("qemu", {})->program));
  ASSERT_TRUE(started) << started.error().detail;
  Process& qemu = **started;
  ASSERT_TRUE(qemu.execute("blockdev-add",
                           Json::parse(R"({"driver": "null-co", "node-name": "n", "size": 65536,
                                           "read-zeroes": true})")));
  ASSERT_TRUE(qemu.execute("device_add", Json::parse(R"({"driver": "virtio-blk-pci", "id": "d",
                                                         "drive": "n"})")));
  const auto io = [&qemu](const std::string& verb) {
    auto reply = qemu.execute(
        "human-monitor-command",
        {{"command-line", "qemu-io -d /machine/peripheral/d/virtio-backend \"" + verb + "\""}});
    return reply ? reply->value("return", "no text") : reply.error().detail;
  };
  EXPECT_TRUE(io("write -P 1 0 512").starts_with("wrote 512/512 bytes at offset 0\n512 bytes, "));
  EXPECT_TRUE(io("read -P 1 0 512")
                  .starts_with("Pattern verification failed at offset 0, 512 bytes\n"
                               "read 512/512 bytes at offset 0\n"));
  EXPECT_EQ(io("flush"), "");
  EXPECT_EQ(io("write 64k 512"), "write failed: Input/output error\n");
  EXPECT_EQ(io("length"), "64 KiB\n");
  EXPECT_TRUE(io("read -v 0 65536").size() > 200'000) << "more than a terminal holds";
  EXPECT_EQ(io("flush"), "");
  auto none =
      qemu.execute("human-monitor-command", {{"command-line", "qemu-io -d nosuch \"read 0 512\""}});
  ASSERT_TRUE(none);
  EXPECT_EQ((*none)["return"], "Error: Device 'nosuch' not found\r\n");
}

}  // namespace
}  // namespace real_qemu
