#include "conformance/domain/xml/domain_xml.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "conformance/domain/xml/xml_for_test.h"

namespace conformance::xml {
namespace {

class Recorded : public testing::TestWithParam<const char*> {};

TEST_P(Recorded, DefinitionsAreWrittenAsLibvirtWritesThem) {
  const std::string given = testdata(std::string(GetParam()) + ".in.xml");
  auto ours = parse_domain(given, Form::inactive);
  ASSERT_TRUE(ours.has_value()) << error_of(ours.error()).message;
  const std::string text = format_domain(*ours, Form::inactive);
  const auto written = disks_of(text);
  const auto real = disks_of(testdata(std::string(GetParam()) + ".out.xml"));
  ASSERT_EQ(written.size(), real.size());
  for (const auto& [target, disk] : real)
    EXPECT_EQ(written.at(target), without_assigned_address(disk, written.at(target)));

  const auto again = parse_domain(text, Form::inactive);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(format_domain(*again, Form::inactive), text);
}

TEST_P(Recorded, LibvirtsOwnTextSurvivesToTheByte) {
  const std::string text = testdata(std::string(GetParam()) + ".out.xml");
  const auto domain = parse_domain(text, Form::inactive);
  ASSERT_TRUE(domain.has_value()) << error_of(domain.error()).message;
  EXPECT_EQ(format_domain(*domain, Form::inactive), text);
}

INSTANTIATE_TEST_SUITE_P(TestDriver, Recorded,
                         testing::Values("plain", "driver", "removable", "chain", "network",
                                         "secrets_old_places", "secrets_new_places", "labels",
                                         "iotune", "details", "volumes", "surroundings"),
                         [](const auto& info) { return std::string(info.param); });

class Live : public testing::TestWithParam<const char*> {};

TEST_P(Live, LibvirtsOwnTextSurvivesToTheByte) {
  const std::string text = testdata(std::string("qemu_") + GetParam() + ".xml");
  const auto domain = parse_domain(text);
  ASSERT_TRUE(domain.has_value()) << error_of(domain.error()).message;
  EXPECT_EQ(format_domain(*domain, Form::live), text);
}

INSTANTIATE_TEST_SUITE_P(QemuDriver, Live,
                         testing::Values("live", "live_inactive", "copying", "copy_ready",
                                         "copy_ready_inactive", "pivoted", "commit_ready",
                                         "after_snapshot"),
                         [](const auto& info) { return std::string(info.param); });

void mark_detected(StorageSource& source) {
  source.backing.detected = true;
  if (StorageSource* beneath = source.backing.source()) mark_detected(*beneath);
}

TEST(DomainXml, InactiveLeavesOutWhatLibvirtLeavesOut) {
  auto domain = parse_domain(testdata("qemu_copy_ready.xml"));
  ASSERT_TRUE(domain.has_value());
  for (DiskDevice& disk : domain->disks) mark_detected(disk.source);
  auto ours = disks_of(format_domain(*domain, Form::inactive));
  auto real = disks_of(testdata("qemu_copy_ready_inactive.xml"));
  EXPECT_EQ(ours.at("vda"), real.at("vda"));
  EXPECT_EQ(ours.at("sda"), real.at("sda"));
}

TEST(DomainXml, LiveDisksAreValues) {
  const auto domain = parse_domain(testdata("qemu_copy_ready.xml"));
  ASSERT_TRUE(domain.has_value());
  const DiskDevice& vda = domain->disks.at(0);
  EXPECT_EQ(vda.target, "vda");
  EXPECT_EQ(vda.alias, "virtio-disk0");
  EXPECT_EQ(vda.cache, "none");
  EXPECT_EQ(vda.source.index, 3U);
  EXPECT_EQ(vda.source.format, "qcow2");
  const StorageSource* snap1 = vda.source.backing.source();
  ASSERT_NE(snap1, nullptr);
  EXPECT_EQ(snap1->path, "/images/snap1.qcow2");
  EXPECT_EQ(snap1->index, 4U);
  const StorageSource* base = snap1->backing.source();
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(base->backing.knowledge(), Backing::Knowledge::terminated);
  ASSERT_TRUE(vda.mirror.has_value());
  EXPECT_EQ(vda.mirror->job, "copy");
  EXPECT_EQ(vda.mirror->ready, "yes");
  EXPECT_EQ(vda.mirror->source.index, 6U);
  EXPECT_EQ(vda.mirror->source.backing.knowledge(), Backing::Knowledge::unknown);
}

// A pivot: the source goes with all that is its own, the device stays.
TEST(DomainXml, PivotIsOneAssignment) {
  auto domain = parse_domain(testdata("qemu_copy_ready.xml"));
  ASSERT_TRUE(domain.has_value());
  DiskDevice& vda = domain->disks.at(0);
  StorageSource copy = vda.mirror->source;
  copy.backing = vda.source.backing;
  vda.source = std::move(copy);
  vda.mirror.reset();
  EXPECT_EQ(format_domain(*domain, Form::live), testdata("qemu_pivoted.xml"));
}

// An active commit's pivot: the layer beneath takes the place of the one that owns it.
TEST(DomainXml, ALayerMayRise) {
  auto domain = parse_domain(testdata("qemu_live.xml"));
  ASSERT_TRUE(domain.has_value());
  StorageSource& source = domain->disks.at(0).source;
  source.backing.source()->other_attributes.push_back({"kept", "yes"});
  const StorageSource beneath = *source.backing.source();
  StorageSource copied = source;
  copied = *copied.backing.source();
  EXPECT_EQ(copied, beneath);
  source = std::move(*source.backing.source());
  EXPECT_EQ(source, beneath);
  source.backing = std::move(source.backing.source()->backing);
  EXPECT_EQ(source.backing.knowledge(), Backing::Knowledge::terminated);
}

TEST(DomainXml, DisksComeAndGo) {
  auto domain = parse_domain(
      "<domain><devices><a/><disk><source file='/1'/><target dev='vda'/></disk><b/></devices>"
      "</domain>");
  ASSERT_TRUE(domain.has_value());
  domain->disks.push_back(domain->disks[0]);
  domain->disks[1].target = "vdb";
  Element devices = *document(format_domain(*domain, Form::live)).child("devices");
  ASSERT_EQ(devices.children.size(), 4U);
  EXPECT_EQ(devices.children[2].child("target")->attributes[0].value, "vdb");
  EXPECT_EQ(devices.children[3].name, "b");
  domain->disks.clear();
  devices = *document(format_domain(*domain, Form::live)).child("devices");
  EXPECT_EQ(devices.children.size(), 2U);
}

TEST(DomainXml, TheFirstDiskFindsItsPlace) {
  DiskDevice disk;
  disk.target = "vda";
  disk.source.path = "/1";
  for (const char* text : {"<domain/>", "<domain><devices/></domain>",
                           "<domain><devices><emulator>/e</emulator><input/></devices></domain>"}) {
    auto domain = parse_domain(text);
    ASSERT_TRUE(domain.has_value());
    domain->disks = {disk};
    const auto again = parse_domain(format_domain(*domain, Form::live));
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->disks.size(), 1U);
    const Element* devices = again->rest.child("devices");
    EXPECT_EQ(devices->children.at(devices->children.size() > 1 ? 1 : 0).name, "disk");
  }
}

TEST(DomainXml, WhatIsNotKnownSurvivesAtItsPlace) {
  const std::string text = R"(<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' x='1'>
  <!-- a comment -->
  <metadata>mixed <b>text</b> &amp; &lt;more&gt;</metadata>
  <devices>
    <disk type='file' device='disk' new='1'>
      <driver name='qemu' type='qcow2' cache='none' discard_no_unref='on'>
        <inner/>
      </driver>
      <source file='/a' append='on' new='2'>
        <slices/>
        <future when='later'/>
      </source>
      <backingStore type='file' later='3'>
        <format type='raw' extra='4'>
          <more/>
        </format>
        <source file='/b' extra='5'>
          <future/>
        </source>
        <unknown/>
        <backingStore/>
      </backingStore>
      <geometry cyls='1' heads='2' secs='3'/>
      <unknown>
        <nested>text</nested>
      </unknown>
      <target dev='vda' bus='virtio' tray='open'/>
      <!-- here -->
      <alias name='ua-1' new='6'/>
      <address type='pci' bus='0x00'/>
    </disk>
    <?keep this?>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-x&#10;y&#9;&apos;&quot;'/>
  </qemu:commandline>
</domain>
)";
  for (const Form form : {Form::live, Form::inactive}) {
    const auto domain = parse_domain(text, form);
    ASSERT_TRUE(domain.has_value()) << error_of(domain.error()).message;
    EXPECT_EQ(format_domain(*domain, form), text);
  }
}

}  // namespace
}  // namespace conformance::xml
