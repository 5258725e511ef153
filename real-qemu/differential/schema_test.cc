// The declarations and query-qmp-schema of each installed release: equal in every command and event
// that is declared, and every one that is not is left out for a reason.

#include "sim/qmp/schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "real-qemu/differential/release_for_test.h"

namespace differential {
namespace {

using sim::Json;
using sim::qmp::Schema;

// Patterns of what is not declared ('*' at the end stands for anything), and why.
struct LeftOut {
  std::string_view why;
  std::vector<std::string_view> names;
};
const std::vector<LeftOut> kLeftOut = {
    {"NBD and other exports have an issue of their own",
     {"nbd-server-*", "block-export-*", "query-block-exports", "BLOCK_EXPORT_DELETED"}},
    {"migration, replication and yank are not simulated",
     {"migrate*", "query-migrat*", "MIGRATION*", "calc-dirty-rate", "query-dirty-rate",
      "*vcpu-dirty-limit", "xen-*", "query-xen-*", "x-colo-*", "query-colo-*", "COLO_EXIT",
      "announce-self", "client_migrate_info", "query-yank", "yank", "UNPLUG_PRIMARY",
      "FAILOVER_NEGOTIATED", "VFIO_MIGRATION"}},
    {"processors, memory, firmware and platform: no block layer in them",
     {"query-cpu-*",
      "query-cpus",
      "query-hotpluggable-cpus",
      "query-sev*",
      "query-sgx*",
      "sev-inject-*",
      "query-mem*",
      "query-machines",
      "query-current-machine",
      "query-target",
      "query-accelerators",
      "x-accel-stats",
      "query-gic-*",
      "query-s390x-*",
      "query-tpm*",
      "query-hv-*",
      "HV_*",
      "query-vm-generation-id",
      "query-acpi-ospm-status",
      "query-firmware-log",
      "set-numa-node",
      "set-cpu-topology",
      "CPU_POLARIZATION_CHANGE",
      "ACPI_DEVICE_OST",
      "SCLP_*",
      "RTC_CHANGE",
      "rtc-reset-*",
      "balloon",
      "query-balloon",
      "BALLOON_CHANGE",
      "MEM_UNPLUG_ERROR",
      "MEMORY_DEVICE_SIZE_CHANGE",
      "cxl-*",
      "inject-*",
      "memsave",
      "pmemsave",
      "dump*",
      "DUMP_COMPLETED",
      "query-dump*",
      "query-pci",
      "device-sync-config",
      "x-exit-preconfig",
      "VFU_CLIENT_HANGUP"}},
    {"network",
     {"netdev_*", "NETDEV_*", "NIC_*", "RDMA_*", "query-rx-filter", "query-rocker*", "set_link",
      "request-ebpf"}},
    {"displays, sound and input",
     {"query-vnc*", "VNC_*", "query-spice", "SPICE_*", "change-vnc-password", "*_password",
      "display-*", "query-display-options", "query-audiodevs", "query-mice", "screendump",
      "send-key", "input-send-event"}},
    {"character devices", {"chardev-*", "query-chardev*", "ringbuf-*", "VSERPORT_CHANGE"}},
    {"tracing, statistics, replay, debugging of devices",
     {"trace-event-*", "query-stats*", "replay-*", "query-replay", "x-query-*",
      "query-command-line-options", "query-cryptodev"}},
};

bool fits(std::string_view pattern, std::string_view name) {
  if (pattern.starts_with('*')) return name.ends_with(pattern.substr(1));
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return name == pattern;
}

bool is_left_out(std::string_view name) {
  for (const LeftOut& group : kLeftOut)
    for (const std::string_view pattern : group.names)
      if (fits(pattern, name)) return true;
  return false;
}

// Two introspections, compared by structure: names of types mean nothing.
class Comparison {
 public:
  Comparison(const Json& ours, const Json& theirs)
      : ours_(by_name(ours)), theirs_(by_name(theirs)) {}

  void compare_all() {
    for (const auto& [name, entry] : theirs_) {
      const std::string meta = entry["meta-type"];
      if (meta != "command" && meta != "event") continue;
      const bool declared = ours_.contains(name);
      EXPECT_NE(declared, is_left_out(name))
          << name << (declared ? ": is declared now" : ": is not declared");
      if (declared) compare_message(name, ours_.at(name), entry);
    }
    for (const auto& [name, entry] : ours_)
      if (entry["meta-type"] == "command" || entry["meta-type"] == "event")
        EXPECT_TRUE(theirs_.contains(name)) << name << ": only declared";
  }

 private:
  static std::map<std::string, Json> by_name(const Json& list) {
    std::map<std::string, Json> map;
    for (const Json& entry : list) map[entry["name"]] = entry;
    return map;
  }

  void compare_message(const std::string& name, const Json& ours, const Json& theirs) {
    for (const char* member : {"meta-type", "features", "allow-oob"})
      EXPECT_EQ(ours.value(member, Json()), theirs.value(member, Json())) << name << ' ' << member;
    compare_type(ours["arg-type"], theirs["arg-type"], name);
    if (theirs.contains("ret-type"))
      compare_type(ours["ret-type"], theirs["ret-type"], name + " ->");
  }

  void compare_type(const std::string& our_name, const std::string& their_name,
                    const std::string& where) {
    if (!seen_.insert({our_name, their_name}).second) return;
    SCOPED_TRACE(where);
    const Json& ours = ours_.at(our_name);
    const Json& theirs = theirs_.at(their_name);
    for (const char* member : {"meta-type", "features", "values", "json-type", "tag"})
      ASSERT_EQ(ours.value(member, Json()), theirs.value(member, Json())) << where << ' ' << member;
    if (theirs.contains("element-type"))
      compare_type(ours["element-type"], theirs["element-type"], where + "[]");
    if (theirs.contains("members")) compare_members(ours["members"], theirs["members"], where);
    if (theirs.contains("variants")) compare_variants(ours["variants"], theirs["variants"], where);
  }

  void compare_members(const Json& ours, const Json& theirs, const std::string& where) {
    ASSERT_EQ(signature(ours), signature(theirs)) << where;
    for (std::size_t i = 0; i < theirs.size(); ++i)
      if (theirs[i].contains("type"))
        compare_type(ours[i]["type"], theirs[i]["type"],
                     where + "." + theirs[i].value("name", "|"));
  }
  // Members in their order, with everything but their types.
  static std::string signature(const Json& members) {
    std::string text;
    for (Json member : members) {
      member.erase("type");
      text += member.dump() + "\n";
    }
    return text;
  }

  void compare_variants(const Json& ours, const Json& theirs, const std::string& where) {
    std::map<std::string, std::string> our_types;
    for (const Json& variant : ours) our_types[variant["case"]] = variant["type"];
    EXPECT_EQ(our_types.size(), theirs.size());
    for (const Json& variant : theirs) {
      const std::string name = variant["case"];
      ASSERT_TRUE(our_types.contains(name)) << where << ' ' << name;
      compare_type(our_types[name], variant["type"], where + "<" + name + ">");
    }
  }

  std::map<std::string, Json> ours_, theirs_;
  std::set<std::pair<std::string, std::string>> seen_;
};

class QmpSchema : public ReleaseTest {};

TEST_P(QmpSchema, IsWhatTheReleaseSays) {
  const Json theirs = ask("query-qmp-schema", Json::object());
  ASSERT_TRUE(theirs.contains("return"));
  Comparison(Schema::of(profile()).introspection(), theirs["return"]).compare_all();
}

TEST_P(QmpSchema, HidesWhatAPolicyHides) {
  if (!has_policies()) GTEST_SKIP() << "no -compat before 6.0";
  restart({"-compat", "deprecated-output=hide,unstable-output=hide"});
  const Json theirs = ask("query-qmp-schema", Json::object());
  ASSERT_TRUE(theirs.contains("return"));
  const sim::qmp::Compat compat = {.deprecated_output = sim::qmp::Compat::Output::hide,
                                   .unstable_output = sim::qmp::Compat::Output::hide};
  Comparison(Schema::of(profile()).introspection(compat), theirs["return"]).compare_all();
}

INSTANTIATE_TEST_SUITE_P(Releases, QmpSchema, ::testing::ValuesIn(release_names()),
                         name_of_release);

}  // namespace
}  // namespace differential
