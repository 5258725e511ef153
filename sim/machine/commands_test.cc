// Commands beside a mirror: transactions, bitmaps, snapshots below its target, and unplugging.
// Texts are QEMU 7.2's.

#include "sim/machine/machine_for_test.h"

namespace sim::machine {
namespace {

class Commands : public testing::MachineTest {
 protected:
  static Json add_bitmap(const std::string& name, const std::string& node = "libvirt-1-format") {
    return {{"type", "block-dirty-bitmap-add"}, {"data", {{"node", node}, {"name", name}}}};
  }
  static Json snapshot(const std::string& node, const std::string& overlay) {
    return {{"type", "blockdev-snapshot"}, {"data", {{"node", node}, {"overlay", overlay}}}};
  }
  Json transaction(const Json& actions) { return run("transaction", {{"actions", actions}}); }
  std::string bitmaps() {
    std::string text;
    for (const Json& node : run("query-named-block-nodes", {{"flat", true}}))
      for (const Json& bitmap : node.value("dirty-bitmaps", Json::array()))
        if (bitmap.contains("name"))
          text += fmt::format("{}:{}:{} ", bitmap["name"].get<std::string>(),
                              bitmap["recording"].get<bool>() ? "on" : "off",
                              bitmap["count"].get<std::uint64_t>() / 65536);
    return text;
  }
  std::string error_of(const Json& reply) {
    return reply.contains("error") ? reply["error"]["desc"].get<std::string>() : "";
  }
};

TEST_F(Commands, BitmapsComeRecordAndGo) {
  run("block-dirty-bitmap-add", {{"node", "libvirt-1-format"}, {"name", "a"}});
  run("block-dirty-bitmap-add", {{"node", "libvirt-1-format"}, {"name", "b"}, {"disabled", true}});
  guest_writes(5, 0);
  EXPECT_EQ(bitmaps(), "b:off:0 a:on:1 ");
  EXPECT_EQ(refusal("block-dirty-bitmap-add", {{"node", "libvirt-1-format"}, {"name", "a"}}),
            "Bitmap already exists: a");
  EXPECT_EQ(refusal("block-dirty-bitmap-remove", {{"node", "libvirt-2-format"}, {"name", "a"}}),
            "Dirty bitmap 'a' not found");
  run("block-dirty-bitmap-remove", {{"node", "libvirt-1-format"}, {"name", "a"}});
  EXPECT_EQ(bitmaps(), "b:off:0 ");
}

TEST_F(Commands, ATransactionIsDoneWholeOrNotAtAll) {
  EXPECT_EQ(transaction({add_bitmap("a"), add_bitmap("b", "libvirt-4-format")}), Json::object());
  EXPECT_EQ(bitmaps(), "b:on:0 a:on:0 ");
  EXPECT_EQ(error_of(transaction({add_bitmap("c"), add_bitmap("c")})), "Bitmap already exists: c");
  EXPECT_EQ(error_of(transaction({add_bitmap("c"), {{"type", "abort"}, {"data", Json::object()}}})),
            "Transaction aborted using Abort action");
  EXPECT_EQ(error_of(transaction({{{"type", "block-dirty-bitmap-remove"},
                                   {"data", {{"node", "libvirt-1-format"}, {"name", "a"}}}},
                                  add_bitmap("b", "nope")})),
            "Cannot find device='nope' nor node-name='nope'");
  EXPECT_EQ(bitmaps(), "b:on:0 a:on:0 ") << "rolled back";
}

TEST_F(Commands, ASnapshotIsRolledBackToo) {
  EXPECT_EQ(error_of(transaction(
                {snapshot("libvirt-1-format", "libvirt-4-format"), add_bitmap("c", "nope")})),
            "Cannot find device='nope' nor node-name='nope'");
  EXPECT_EQ(run("query-block")[0]["inserted"]["node-name"], "libvirt-1-format");
  EXPECT_EQ(transaction(Json::array({snapshot("libvirt-1-format", "libvirt-4-format")})),
            Json::object());
  EXPECT_EQ(run("query-block")[0]["inserted"]["node-name"], "libvirt-4-format");
  guest_writes(7, 0);
  EXPECT_EQ(guest_reads(), "7113221133111111");
  EXPECT_EQ(copy_reads(), "7000000000000000");
}

// As libvirt does it for a shallow copy: sync=top into a target opened without what is below,
// which is put below it right before the pivot.
TEST_F(Commands, WhatIsBelowIsPutBelowTheMirrorsTargetBeforeThePivot) {
  mirror({{"sync", "top"}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  guest_writes(8, 1);
  run("blockdev-add",
      {{"driver", "qcow2"},
       {"node-name", "below"},
       {"read-only", true},
       {"file", {{"driver", "file"}, {"filename", "/snap1"}, {"read-only", true}}}});
  EXPECT_EQ(transaction(Json::array({snapshot("below", "libvirt-4-format")})), Json::object());
  verb("job-complete");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  verb("job-dismiss");
  EXPECT_EQ(guest_reads(), "1813221133111111");
  EXPECT_EQ(run("blockdev-del", {{"node-name", "libvirt-1-format"}}), Json::object());
  EXPECT_EQ(refusal("blockdev-del", {{"node-name", "below"}}),
            "Node 'below' is busy: node is used as backing hd of 'libvirt-4-format'");
  EXPECT_EQ(copy_reads(), "0803000033000000") << "the layer alone";
}

TEST_F(Commands, AJobsNodesAreNotToBeTouched) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  create("/other", 1_MiB);
  add("/other", 5, nullptr, false);
  EXPECT_EQ(refusal("blockdev-del", {{"node-name", "libvirt-1-format"}}),
            "Node 'libvirt-1-format' is busy: block device is in use by block job: mirror");
  EXPECT_EQ(refusal("blockdev-del", {{"node-name", "libvirt-4-format"}}),
            "Node libvirt-4-format is in use");
  EXPECT_EQ(
      refusal("blockdev-snapshot", {{"node", "libvirt-1-format"}, {"overlay", "libvirt-5-format"}}),
      "Node 'libvirt-1-format' is busy: block device is in use by block job: mirror");
  EXPECT_EQ(error_of(mirror({{"job-id", "n"}, {"target", "libvirt-5-format"}})),
            "Need a root block node");
  EXPECT_EQ(error_of(mirror({{"device", "libvirt-5-format"}})),
            "Node 'libvirt-4-format' is busy: block device is in use by block job: mirror")
      << "before the job's id is looked at";
  EXPECT_EQ(error_of(mirror({{"job-id", "n"}, {"device", "libvirt-5-format"}})),
            "Node 'libvirt-4-format' is busy: block device is in use by block job: mirror");
}

// The paused guest lets go of a device at the next reset.
TEST_F(Commands, UnpluggingWaitsForAReset) {
  const auto del = [&] { return refusal("device_del", {{"id", "disk"}}); };
  EXPECT_EQ(del(), "");
  EXPECT_EQ(del(), "Device disk is already in the process of unplug");
  EXPECT_EQ(run("query-block").size(), 1U);
  EXPECT_EQ(run("system_reset"), Json::object());
  ASSERT_EQ(events_.size(), 3U);
  EXPECT_EQ(events_[0].name, "RESET");
  EXPECT_EQ(events_[0].data, (Json{{"guest", false}, {"reason", "host-qmp-system-reset"}}));
  EXPECT_EQ(events_[1].name, "DEVICE_DELETED");
  EXPECT_EQ(events_[1].data, (Json{{"path", "/machine/peripheral/disk/virtio-backend"}}));
  EXPECT_EQ(events_[2].data, (Json{{"device", "disk"}, {"path", "/machine/peripheral/disk"}}));
  EXPECT_EQ(run("query-block"), Json::array());
  EXPECT_EQ(del(), "Device 'disk' not found");
  EXPECT_EQ(run("blockdev-del", {{"node-name", "libvirt-1-format"}}), Json::object());
}

TEST_F(Commands, AMirrorOutlivesTheDevice) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  run("device_del", {{"id", "disk"}});
  run("system_reset");
  EXPECT_EQ(verb("job-complete"), Json::object());
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  verb("job-dismiss");
  EXPECT_EQ(copy_reads(), testing::kChainReads);
}

TEST_F(Commands, WhatIsNotInThisVersionIsRefusedByName) {
  EXPECT_EQ(refusal("add_client", {{"protocol", "x"}, {"fdname", "x"}}),
            "understudy: command 'add_client' is not in this version");
  EXPECT_EQ(refusal("add_client"), "Parameter 'protocol' is missing") << "QEMU's checks first";
  EXPECT_EQ(refusal("migrate", {{"uri", "exec:true"}}),
            "understudy: command 'migrate' is not in this version");
  EXPECT_EQ(refusal("query-events"), "The command query-events has not been found");
}

TEST_F(Commands, TheSchemaIsTheReleases) {
  const Json schema = run("query-qmp-schema");
  EXPECT_EQ(schema, qmp::Schema::of(*find_profile("7.2")).introspection());
  EXPECT_GT(run("query-commands").size(), 200U);
  EXPECT_EQ(refusal("query-qmp-schema", {{"x", 1}}), "Parameter 'x' is unexpected");
}

TEST_F(Commands, NothingIsAnsweredBeforeTheGreetingIsReturned) {
  Machine fresh(files_, {});
  EXPECT_EQ(fresh.greeting()["QMP"]["version"]["qemu"],
            (Json{{"major", 7}, {"minor", 2}, {"micro", 22}}));
  const auto ask = [&](const char* command) {
    return (*fresh.execute({{"execute", command}, {"id", 7}})).dump();
  };
  EXPECT_EQ(ask("query-status"),
            R"({"error":{"class":"CommandNotFound","desc":"Expecting capabilities negotiation )"
            R"(with 'qmp_capabilities'"},"id":7})");
  EXPECT_EQ(ask("qmp_capabilities"), R"({"id":7,"return":{}})");
  EXPECT_EQ(ask("qmp_capabilities"),
            R"({"error":{"class":"CommandNotFound","desc":"Capabilities negotiation is already )"
            R"(complete, command ignored"},"id":7})");
}

}  // namespace
}  // namespace sim::machine
