#include "conformance/domain/xml/snapshot.h"

#include <gtest/gtest.h>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/xml_for_test.h"

namespace conformance::xml {
namespace {

std::string snapshot_with(const std::string& rest) {
  return "<domainsnapshot><name>s</name>" + rest + "</domainsnapshot>";
}
std::string disks(const std::string& rest) { return snapshot_with("<disks>" + rest + "</disks>"); }

DomainError error_for(const std::string& text) {
  const auto read = parse_domain_snapshot(text);
  EXPECT_FALSE(read.has_value()) << text;
  return read ? DomainError{} : error_of(read.error());
}

class SnapshotText : public testing::TestWithParam<const char*> {};

TEST_P(SnapshotText, LibvirtsOwnTextSurvivesToTheByte) {
  const std::string text = testdata(std::string(GetParam()) + ".xml");
  const auto snapshot = parse_domain_snapshot(text);
  ASSERT_TRUE(snapshot.has_value()) << error_of(snapshot.error()).message;
  EXPECT_EQ(format_domain_snapshot(*snapshot), text);
  ASSERT_TRUE(snapshot->domain.has_value());
  const auto domain = parse_domain(*snapshot->domain, Form::live);
  ASSERT_TRUE(domain.has_value());
  EXPECT_EQ(domain->disks.size(), 3U);
  EXPECT_EQ(format_domain_element(*domain, Form::live), *snapshot->domain);
}

INSTANTIATE_TEST_SUITE_P(QemuDriver, SnapshotText,
                         testing::Values("snapshot_disk", "snapshot_memory"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Snapshot, IsAValue) {
  const auto snapshot = parse_domain_snapshot(testdata("snapshot_memory.xml"));
  ASSERT_TRUE(snapshot.has_value());
  EXPECT_EQ(snapshot->name, "s2");
  EXPECT_EQ(snapshot->parent, "s1");
  EXPECT_EQ(snapshot->memory->file, "/images/mem");
  EXPECT_TRUE(snapshot->creation_time.has_value());
  ASSERT_TRUE(snapshot->disks.has_value());
  EXPECT_EQ(snapshot->disks->at(0).source->path, "/images/s1.s2");
  EXPECT_EQ(snapshot->disks->at(1).snapshot, "no");
}

// Measured: snapshotCreateXML of libvirt 9.0.0's QEMU and test drivers.
TEST(Snapshot, RefusesWhatLibvirtRefuses) {
  const auto error = [](const std::string& code, const std::string& message) {
    return DomainError{"DOMAIN_SNAPSHOT", code, message};
  };
  const auto bad_value = [](const std::string& attribute, const std::string& element) {
    return DomainError{
        "XML", "XML_ERROR",
        "Invalid value for attribute '" + attribute + "' in element '" + element + "': 'foo'."};
  };
  EXPECT_EQ(error_for("foo"),
            error("XML_DETAIL", "(domain_snapshot):1: Start tag expected, '<' not found"));
  EXPECT_EQ(error_for(disks("<disk/>")),
            error("INTERNAL_ERROR", "missing name from disk snapshot element"));
  EXPECT_EQ(error_for(disks("<disk name='vda' snapshot='foo'/>")), bad_value("snapshot", "disk"));
  EXPECT_EQ(error_for(disks("<disk name='vda' type='foo'/>")), bad_value("type", "disk"));
  EXPECT_EQ(error_for(disks("<disk name='vda' type='volume'/>")),
            error("XML_ERROR", "unsupported disk snapshot type 'volume'"));
  EXPECT_EQ(error_for(disks("<disk name='vda' type='dir'/>")),
            error("XML_ERROR", "unsupported disk snapshot type 'dir'"));
  for (const char* bad : {"foo", "auto", "none"})
    EXPECT_EQ(
        error_for(disks("<disk name='vda'><driver type='" + std::string(bad) + "'/></disk>")),
        error("CONFIG_UNSUPPORTED", "unknown disk snapshot driver '" + std::string(bad) + "'"));
  for (const char* mode : {"internal", "no"})
    EXPECT_EQ(error_for(disks("<disk name='vda' snapshot='" + std::string(mode) +
                              "'><source file='/x'/></disk>")),
              error("CONFIG_UNSUPPORTED",
                    "file '/x' for disk 'vda' requires use of external snapshot mode"));
  EXPECT_EQ(error_for(disks("<disk name='vda'><source file='x'/></disk>")),
            error("XML_ERROR", "disk snapshot image path 'x' must be absolute"));
  EXPECT_EQ(error_for(disks("<disk name='vda'/><disk name='vda'/>")),
            error("CONFIG_UNSUPPORTED", "disk 'vda' specified twice"));

  EXPECT_EQ(error_for(snapshot_with("<memory snapshot='foo'/>")), bad_value("snapshot", "memory"));
  EXPECT_EQ(error_for(snapshot_with("<memory snapshot='external'/>")),
            error("XML_ERROR", "external memory snapshots require a filename"));
  EXPECT_EQ(error_for(snapshot_with("<memory snapshot='internal' file='/m'/>")),
            error("XML_ERROR", "memory filename '/m' requires external snapshot"));
  EXPECT_EQ(error_for(snapshot_with("<memory snapshot='manual' file='/m'/>")),
            error("XML_ERROR", "'manual' memory snapshot mode not supported"));
  EXPECT_EQ(error_for(snapshot_with("<memory snapshot='external' file='m'/>")),
            error("XML_ERROR", "memory snapshot file path (m) must be absolute"));

  for (const char* bad : {"foo", "nostate"})
    EXPECT_EQ(error_for(snapshot_with("<state>" + std::string(bad) + "</state>")),
              error("CONFIG_UNSUPPORTED",
                    "Invalid state '" + std::string(bad) + "' in domain snapshot XML"));
  EXPECT_EQ(error_for(snapshot_with("<creationTime>x</creationTime>")),
            error("INTERNAL_ERROR", "missing creationTime from existing snapshot"));
}

TEST(Snapshot, SourceOrDriverMeansExternal) {
  for (const char* disk : {"<disk name='vda'><source file='/x'/></disk>",
                           "<disk name='vda'><driver type='qed'/></disk>"}) {
    const auto snapshot = parse_domain_snapshot(disks(disk));
    ASSERT_TRUE(snapshot.has_value());
    EXPECT_EQ(snapshot->disks->at(0).snapshot, "external");
  }
  const auto memory = parse_domain_snapshot(snapshot_with("<memory file='/m'/>"));
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->memory->snapshot, "external");
  EXPECT_FALSE(memory->disks.has_value());
}

TEST(Snapshot, KeepsTheRest) {
  const std::string text = R"(<domainsnapshot new='1'>
  <name>s</name>
  <description/>
  <state>shutoff</state>
  <future/>
  <creationTime>-5</creationTime>
  <memory snapshot='no' new='2'/>
  <disks>
    <disk name='vda' snapshot='external' type='network' new='3'>
      <driver type='qcow2' new='4'/>
      <source protocol='nbd' name='x'>
        <host name='h' port='1'/>
      </source>
      <future/>
    </disk>
  </disks>
  <cookie>
    <cpu mode='custom'/>
  </cookie>
</domainsnapshot>
)";
  const auto snapshot = parse_domain_snapshot(text);
  ASSERT_TRUE(snapshot.has_value()) << error_of(snapshot.error()).message;
  EXPECT_EQ(format_domain_snapshot(*snapshot), text);
}

}  // namespace
}  // namespace conformance::xml
