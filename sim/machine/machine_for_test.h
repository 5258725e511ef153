// For the tests of this room: a machine over files in memory, with the chain that QEMU 7.2 was
// measured with: base <- snap1 <- snap2 under a disk, 1 MiB in granules of 64 KiB,
//
//   base 1111111111111111, snap1 ....22.........., snap2 ...3....33......  =>  1113221133111111
//
// and an empty copy.  Nodes have libvirt's names: 1 is snap2, 2 snap1, 3 base, 4 the copy.

#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/machine/machine.h"
#include "sim/storage/memory.h"

namespace sim::machine::testing {

inline constexpr const char* kChainReads = "1113221133111111";

class MachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    boot({});
    make_images(1_MiB);
    build();
  }

  // A new machine over the files that are there; the old one ends first, as QEMU does.
  void boot(MachineOptions options) {
    machine_.reset();
    events_.clear();
    awaited_ = 0;
    machine_ = std::make_unique<Machine>(files_, options);
    EXPECT_EQ(run("qmp_capabilities"), Json::object());
  }

  // The reply's "return", or its "error" whole.
  Json run(const std::string& command, const Json& arguments = nullptr) {
    Json request = {{"execute", command}};
    if (!arguments.is_null()) request["arguments"] = arguments;
    const std::optional<Json> reply = machine_->execute(request);
    if (!reply) {
      ADD_FAILURE() << command << " hangs";
      return {};
    }
    take_events();
    return reply->contains("return") ? (*reply)["return"] : *reply;
  }
  std::string refusal(const std::string& command, const Json& arguments = nullptr) {
    const Json reply = run(command, arguments);
    return reply.is_object() && reply.contains("error") ? reply["error"]["desc"] : Json("");
  }

  // Lets the machine go on until there is an event of that name (and status) that was not awaited
  // before; false after an hour.  It is then awaited_event().
  bool await(const std::string& name, const std::string& status = "") {
    for (;; ++awaited_) {
      if (awaited_ == events_.size()) {
        const auto event = machine_->run_until_event(milliseconds(3'600'000));
        if (!event) break;
        events_.push_back(*event);
      }
      const qmp::Event& event = events_[awaited_];
      if (event.name != name || (!status.empty() && event.data["status"] != status)) continue;
      ++awaited_;
      return true;
    }
    ADD_FAILURE() << "no " << name << " " << status;
    return false;
  }
  const qmp::Event& awaited_event() const { return events_.at(awaited_ - 1); }
  // Lets it go on for so long.
  void pass(std::uint64_t ms) {
    const Instant end = machine_->world().scheduler.now() + milliseconds(ms);
    while (machine_->world().scheduler.step(end)) take_events();
    take_events();
  }

  // What was told of job `m` since the last call, in short: "created running ready READY".
  std::string story() {
    std::string text;
    awaited_ = 0;
    for (const qmp::Event& event : std::exchange(events_, {})) {
      if (!event.name.contains("JOB")) continue;
      text += text.empty() ? "" : " ";
      text += event.name == "JOB_STATUS_CHANGE" ? event.data["status"].get<std::string>()
                                                : event.name.substr(sizeof("BLOCK_JOB"));
    }
    return text;
  }

  // The guest's disk, through its device.
  std::string guest(const std::string& verb) {
    run("human-monitor-command",
        {{"command-line",
          fmt::format("qemu-io -d /machine/peripheral/disk/virtio-backend \"{}\"", verb)}});
    return machine_->take_output();
  }
  void guest_writes(unsigned pattern, std::uint64_t granule) {
    EXPECT_EQ(guest(fmt::format("write -q -P {} {}k 64k", pattern, granule * 64)), "");
  }
  // What the guest reads: a digit for each granule of 64 KiB, '?' for a mixture.
  std::string guest_reads(std::uint64_t granules = 16) {
    std::string text;
    for (std::uint64_t granule = 0; granule < granules; ++granule) {
      char digit = '?';
      for (char c = '0'; c <= '9' && digit == '?'; ++c)
        if (guest(fmt::format("read -q -P {} {}k 64k", c - '0', granule * 64)).empty()) digit = c;
      text += digit;
    }
    return text;
  }

  Json add(const std::string& file, int number, const Json& backing, bool read_only) {
    run("blockdev-add", {{"driver", "file"},
                         {"node-name", fmt::format("libvirt-{}-storage", number)},
                         {"filename", file}});
    return run("blockdev-add", {{"driver", "qcow2"},
                                {"node-name", fmt::format("libvirt-{}-format", number)},
                                {"file", fmt::format("libvirt-{}-storage", number)},
                                {"backing", backing},
                                {"read-only", read_only}});
  }
  Json plug(const std::string& node) {
    return run("device_add", {{"driver", "virtio-blk-pci"}, {"id", "disk"}, {"drive", node}});
  }
  void create(const std::string& file, std::uint64_t size, const std::string& backing = "") {
    ASSERT_TRUE(files_.create(file));
    ASSERT_EQ(run("blockdev-add", {{"driver", "file"}, {"node-name", "new"}, {"filename", file}}),
              Json::object());
    Json options = {{"driver", "qcow2"}, {"file", "new"}, {"size", size}};
    if (!backing.empty()) {
      options["backing-file"] = backing;
      options["backing-fmt"] = "qcow2";
    }
    ASSERT_EQ(run("blockdev-create", {{"job-id", "c"}, {"options", options}}), Json::object());
    ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
    ASSERT_FALSE(run("query-jobs")[0].contains("error")) << run("query-jobs");
    run("job-dismiss", {{"id", "c"}});
    ASSERT_EQ(run("blockdev-del", {{"node-name", "new"}}), Json::object());
  }
  // Writes `granules` of the image as a guest would: (pattern, first, count).
  void fill(const std::string& file, const std::string& backing,
            const std::vector<std::array<std::uint64_t, 3>>& granules) {
    boot({});
    Json below;
    if (!backing.empty())
      below = {{"driver", "qcow2"},
               {"read-only", true},
               {"file", {{"driver", "file"}, {"filename", backing}}}};
    ASSERT_EQ(add(file, 1, below, false), Json::object());
    ASSERT_EQ(plug("libvirt-1-format"), Json::object());
    for (const auto& [pattern, first, count] : granules)
      for (std::uint64_t granule = first; granule < first + count; ++granule)
        guest_writes(static_cast<unsigned>(pattern), granule);
  }
  void make_images(std::uint64_t size) {
    create("/base", size);
    create("/snap1", size, "/base");
    create("/snap2", size, "/snap1");
    create("/copy", size);
    fill("/base", "", {{1, 0, 16}});
    fill("/snap1", "/base", {{2, 4, 2}});
    fill("/snap2", "/snap1", {{3, 3, 1}, {3, 8, 2}});
    boot({});
  }
  void build() {
    ASSERT_EQ(add("/base", 3, nullptr, true), Json::object());
    ASSERT_EQ(add("/snap1", 2, "libvirt-3-format", true), Json::object());
    ASSERT_EQ(add("/snap2", 1, "libvirt-2-format", false), Json::object());
    ASSERT_EQ(add("/copy", 4, nullptr, false), Json::object());
    ASSERT_EQ(plug("libvirt-1-format"), Json::object());
    ASSERT_EQ(guest_reads(), kChainReads);
    story();
  }

  // Starts the mirror `m` from disk to copy; `more` changes or adds arguments.
  Json mirror(const Json& more = Json::object()) {
    Json arguments = {{"job-id", "m"},
                      {"device", "libvirt-1-format"},
                      {"sync", "full"},
                      {"target", "libvirt-4-format"},
                      {"auto-dismiss", false}};
    arguments.update(more);
    return run("blockdev-mirror", arguments);
  }
  Json job() { return run("query-block-jobs").at(0); }
  Json verb(const std::string& command) {
    const bool by_id = command.starts_with("job-") || command.ends_with("finalize") ||
                       command.ends_with("dismiss");
    return run(command, {{by_id ? "id" : "device", "m"}});
  }
  // "size/offset/dirty": what the job and its bitmap on the source count, in granules of 64 KiB.
  std::string counts() {
    std::uint64_t dirty = 0;
    for (const Json& node : run("query-named-block-nodes", {{"flat", true}}))
      if (node["node-name"] == "libvirt-1-format")
        dirty = node["dirty-bitmaps"][0]["count"].get<std::uint64_t>();
    const Json now = job();
    return fmt::format("{}/{}/{}", now["len"].get<std::uint64_t>() / 65536,
                       now["offset"].get<std::uint64_t>() / 65536, dirty / 65536);
  }
  // What the copy reads as by itself, in a fresh machine.
  std::string copy_reads(std::uint64_t granules = 16) {
    boot({});
    EXPECT_EQ(add("/copy", 1, nullptr, false), Json::object());
    EXPECT_EQ(plug("libvirt-1-format"), Json::object());
    return guest_reads(granules);
  }

  storage::MemoryFiles files_;
  std::unique_ptr<Machine> machine_;
  std::vector<qmp::Event> events_;

 private:
  void take_events() {
    while (const auto event = machine_->take_event()) events_.push_back(*event);
  }
  std::size_t awaited_ = 0;  // so many of `events_` were awaited or passed over
};

}  // namespace sim::machine::testing
