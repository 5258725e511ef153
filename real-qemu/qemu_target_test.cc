#include "real-qemu/qemu_target.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

namespace real_qemu {
namespace {

using conformance::Guest;
using conformance::Hypervisor;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

constexpr const char* kDevice = "/machine/peripheral/virtio-disk0/virtio-backend";

class QemuTargetTest : public ::testing::Test {
 protected:
  // base <- snap1 <- snap2, 4 MiB, written by qemu-img and qemu-io; copied into each session.
  static void SetUpTestSuite() {
    templates_ = new PrivateDirectory(std::move(*PrivateDirectory::make(scratch_place())));
    const std::string make =
        "cd " + templates_->path() +
        " && qemu-img create -q -f qcow2 base 4M && qemu-io -f qcow2 -c 'write -q -P 1 0 4M' base"
        " && qemu-img create -q -f qcow2 -b base -F qcow2 snap1"
        " && qemu-io -f qcow2 -c 'write -q -P 2 1M 64k' snap1"
        " && qemu-img create -q -f qcow2 -b snap1 -F qcow2 snap2"
        " && qemu-img create -q -f qcow2 copy 4M";
    ASSERT_EQ(std::system(make.c_str()), 0);
  }
  static void TearDownTestSuite() { delete templates_; }

  std::unique_ptr<QemuTarget> target(QemuOptions options = {}) {
    options.scratch = scratch_.path();
    auto found = QemuTarget::find("qemu", std::move(options));
    EXPECT_TRUE(found) << found.error().detail;
    return found ? std::move(*found) : nullptr;
  }
  std::unique_ptr<conformance::Session> open(QemuTarget& target) {
    auto session = target.open({});
    EXPECT_TRUE(session) << session.error().detail;
    return session ? std::move(*session) : nullptr;
  }
  bool nothing_left() const { return fs::is_empty(scratch_.path()); }

  static Json run(Hypervisor& qemu, std::string_view command, const std::string& arguments) {
    auto reply = qemu.execute(command, Json::parse(arguments));
    if (!reply) return reply.error().detail;
    return reply->contains("return") ? (*reply)["return"] : *reply;
  }
  static void add_image(Hypervisor& qemu, const std::string& directory, const std::string& name,
                        const std::string& backing) {
    EXPECT_EQ(run(qemu, "blockdev-add",
                  fmt::format(R"({{"driver": "file", "node-name": "{0}-file",
                                  "filename": "{1}/{0}"}})",
                              name, directory)),
              Json::object());
    EXPECT_EQ(run(qemu, "blockdev-add",
                  fmt::format(R"({{"driver": "qcow2", "node-name": "{0}", "file": "{0}-file",
                                  "backing": {1}}})",
                              name, backing)),
              Json::object());
  }
  // The chain under a virtio disk, and a copy of it that becomes ready.
  static void copy_to_ready(conformance::Session& session) {
    const std::string directory = session.files().directory();
    for (const char* name : {"base", "snap1", "snap2", "copy"})
      fs::copy_file(fs::path(templates_->path()) / name, fs::path(directory) / name);
    Hypervisor& qemu = session.hypervisor();
    add_image(qemu, directory, "base", "null");
    add_image(qemu, directory, "snap1", "\"base\"");
    add_image(qemu, directory, "snap2", "\"snap1\"");
    add_image(qemu, directory, "copy", "null");
    EXPECT_EQ(run(qemu, "device_add", R"({"driver": "virtio-blk-pci", "id": "virtio-disk0",
                                          "drive": "snap2", "bus": "pci.0", "addr": "0x4"})"),
              Json::object());
    EXPECT_EQ(run(qemu, "blockdev-mirror", R"({"job-id": "j", "device": "snap2", "target": "copy",
                                               "sync": "full", "auto-dismiss": false})"),
              Json::object());
    while (true) {
      auto event = qemu.next_event(milliseconds(20'000));
      ASSERT_TRUE(event && *event) << "no BLOCK_JOB_READY";
      if ((*event)->name == "BLOCK_JOB_READY") return;
    }
  }

  PrivateDirectory scratch_ = std::move(*PrivateDirectory::make(scratch_place()));
  static inline PrivateDirectory* templates_ = nullptr;
};

TEST_F(QemuTargetTest, TellsWhatItIs) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  EXPECT_EQ(qemu->name(), "qemu");
  const std::string printed = "QEMU emulator version " + qemu->version();
  std::string command = "qemu-system-x86_64 --version | grep -qF '" + printed + "'";
  EXPECT_EQ(std::system(command.c_str()), 0) << printed;
  EXPECT_EQ(release_of(qemu->version()), qemu->release());
  EXPECT_EQ(exact_version("7.2.22 (Debian 1:7.2)"), "7.2.22");
}

TEST_F(QemuTargetTest, AMissingQemuIsNamedWithItsCure) {
  QemuOptions options;
  options.places = {.root = scratch_.path(), .path = scratch_.path()};
  auto found = QemuTarget::find("qemu", options);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, TargetFailure::Kind::harness);
  EXPECT_TRUE(found.error().detail.contains("apt-get install qemu-system-x86 (or ./dev setup)"));
  found = QemuTarget::find("qemu:5.2", options);
  ASSERT_FALSE(found);
  EXPECT_TRUE(found.error().detail.ends_with("install it: ./dev qemu 5.2"));
}

TEST_F(QemuTargetTest, ASessionBeginsEmptyAndLeavesNothing) {
  int pid = 0;
  {
    auto qemu = target();
    ASSERT_TRUE(qemu);
    std::string directory;
    {
      auto session = open(*qemu);
      directory = session->files().directory();
      EXPECT_TRUE(session->files().names().empty());
      EXPECT_FALSE(qemu->open({})) << "one at a time";
      EXPECT_EQ(run(session->hypervisor(), "query-named-block-nodes", "null"), Json::array());
      copy_to_ready(*session);
      Guest guest(session->hypervisor(), kDevice);
      EXPECT_TRUE(guest.reads_as(1 << 20, 65536, 2).value());
      EXPECT_TRUE(guest.write(0, 65536, 3));
      EXPECT_FALSE(guest.reads_as(0, 65536, 1).value());
      EXPECT_TRUE(guest.write_zeroes(65536, 65536));
      EXPECT_TRUE(guest.flush());
      EXPECT_TRUE(guest.reads_as(65536, 65536, 0).value());
      EXPECT_FALSE(guest.write(4 << 20, 512, 1)) << "beyond the end";
    }
    EXPECT_FALSE(fs::exists(directory));
    pid = qemu->pid();
    EXPECT_GT(pid, 0) << "kept for the next";
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_TRUE(nothing_left());
}

TEST_F(QemuTargetTest, OneProcessServesFiftySessions) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  const int pid = qemu->pid();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    auto session = open(*qemu);
    ASSERT_TRUE(session);
    auto event = session->hypervisor().poll_event();
    ASSERT_TRUE(event);
    EXPECT_FALSE(*event) << "left over: " << (*event)->name;
    copy_to_ready(*session);
    session.reset();  // with the job running
    ASSERT_EQ(qemu->pid(), pid) << "session " << i;
  }
  const auto took =
      std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
  std::cout << "50 sessions in " << took.count() << " ms\n";
  EXPECT_EQ(qemu->starts(), 1U);
}

TEST_F(QemuTargetTest, EveryKindOfLeftoverIsCleared) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  const std::vector<std::string> ends = {
      R"({"execute": "job-pause", "arguments": {"id": "j"}})",
      R"({"execute": "block-job-cancel", "arguments": {"device": "j", "force": true}})",
      R"({"execute": "block-job-complete", "arguments": {"device": "j"}})",
      R"({"execute": "device_del", "arguments": {"id": "virtio-disk0"}})",
      R"({"execute": "device_add", "arguments": {"driver": "virtio-scsi-pci", "id": "s"}})",
      R"({"execute": "blockdev-create", "arguments": {"job-id": "c", "options":
          {"driver": "qcow2", "file": "copy-file", "size": 65536}}})",
      R"({"execute": "block-dirty-bitmap-add", "arguments": {"node": "base", "name": "b"}})",
      R"({"execute": "system_reset"})"};
  for (const auto& text : ends) {
    auto session = open(*qemu);
    ASSERT_TRUE(session);
    copy_to_ready(*session);
    const Json end = Json::parse(text);
    ASSERT_TRUE(session->hypervisor().execute(end["execute"].get<std::string>(),
                                              end.value("arguments", Json())));
    session.reset();
    EXPECT_EQ(qemu->starts(), 1U) << text;
    session = open(*qemu);
    for (const char* query : {"query-named-block-nodes", "query-jobs", "query-block"})
      EXPECT_EQ(run(session->hypervisor(), query, "null"), Json::array()) << text;
  }
}

// The device has left /machine, and still holds its node for a moment.
TEST_F(QemuTargetTest, ADeviceOnItsWayOutIsAwaited) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  for (int i = 0; i < 3; ++i) {
    auto session = open(*qemu);
    ASSERT_TRUE(session);
    copy_to_ready(*session);
    run(session->hypervisor(), "device_del", R"({"id": "virtio-disk0"})");
    run(session->hypervisor(), "system_reset", "null");
  }
  EXPECT_EQ(qemu->starts(), 1U);
}

TEST_F(QemuTargetTest, WhatCannotBeUndoneEndsTheProcess) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  auto session = open(*qemu);
  run(session->hypervisor(), "object-add", R"({"qom-type": "iothread", "id": "i"})");
  session.reset();
  EXPECT_EQ(qemu->pid(), 0);
  session = open(*qemu);
  run(session->hypervisor(), "device_add", R"({"driver": "virtio-scsi-pci"})");
  session.reset();
  EXPECT_EQ(qemu->pid(), 0) << "a device without an id";
  session = open(*qemu);
  run(session->hypervisor(), "quit", "null");
  session.reset();
  session = open(*qemu);
  EXPECT_EQ(run(session->hypervisor(), "query-status", "null")["status"], "prelaunch");
  EXPECT_EQ(qemu->starts(), 4U);
}

TEST_F(QemuTargetTest, AProcessIsReplacedAfterItsShareOfSessions) {
  QemuOptions options;
  options.sessions_per_process = 2;
  auto qemu = target(options);
  ASSERT_TRUE(qemu);
  for (int i = 0; i < 5; ++i) open(*qemu);
  EXPECT_EQ(qemu->starts(), 3U);
}

TEST_F(QemuTargetTest, ACrashIsToldAndTheNextSessionWorks) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  auto session = open(*qemu);
  copy_to_ready(*session);
  ASSERT_EQ(::kill(qemu->pid(), SIGKILL), 0);
  auto reply = session->hypervisor().execute("query-block", nullptr);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, TargetFailure::Kind::crash);
  EXPECT_EQ(reply.error().detail, "qemu-system-x86_64 was ended by signal 9 (Killed)");
  session.reset();
  session = open(*qemu);
  copy_to_ready(*session);
  session.reset();
  EXPECT_EQ(qemu->starts(), 2U);
  qemu.reset();
  EXPECT_TRUE(nothing_left());
}

// An assertion of QEMU's own: what it wrote on its standard error is part of the detail.  The
// abort signal stands in for it, after a line that QEMU writes for an unknown command.
TEST_F(QemuTargetTest, TheLastWordsAreToldUnlessTheyAreOfAnEarlierSession) {
  auto qemu = target();
  ASSERT_TRUE(qemu);
  for (const std::string word : {"earlier", "later"}) {
    auto session = open(*qemu);
    copy_to_ready(*session);
    run(session->hypervisor(), "human-monitor-command",
        fmt::format(R"({{"command-line": "qemu-io -d {} \"{}\""}})", kDevice, word));
    if (word == "earlier") continue;
    ASSERT_EQ(::kill(qemu->pid(), SIGABRT), 0);
    auto event = session->hypervisor().next_event(milliseconds(20'000));
    ASSERT_FALSE(event);
    EXPECT_EQ(event.error().kind, TargetFailure::Kind::crash);
    EXPECT_EQ(event.error().detail,
              "qemu-system-x86_64 was ended by signal 6 (Aborted); it said: "
              "command \"later\" not found");
  }
}

TEST_F(QemuTargetTest, AHangIsToldWithinItsLimitAndTheNextSessionWorks) {
  QemuOptions options;
  options.limits.reply = milliseconds(2000);
  auto qemu = target(options);
  ASSERT_TRUE(qemu);
  auto session = open(*qemu);
  copy_to_ready(*session);
  const int pid = qemu->pid();
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  auto reply = session->hypervisor().execute("query-block", nullptr);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, TargetFailure::Kind::hang);
  EXPECT_EQ(reply.error().detail,
            "qemu-system-x86_64 (is running): no reply to query-block within 2 s");
  session.reset();
  EXPECT_EQ(::kill(pid, 0), -1) << "it is gone";
  session = open(*qemu);
  copy_to_ready(*session);
  session.reset();
  qemu.reset();
  EXPECT_TRUE(nothing_left());
}

}  // namespace
}  // namespace real_qemu
