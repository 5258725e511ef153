#include "real-libvirt/client/domain_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace real_libvirt {
namespace {

using ::testing::HasSubstr;

// As libvirt 9.0.0 shows a disk during a copy, shortened.
constexpr const char* kLive = R"(<domain type='qemu' id='1'><devices>
  <disk type='file' device='disk'>
    <driver name='qemu' type='qcow2'/>
    <source file='/d/snap1' index='1'/>
    <backingStore type='file' index='2'>
      <format type='raw'/>
      <source file='/d/a &amp; b'/>
      <backingStore/>
    </backingStore>
    <mirror type='file' job='copy' ready='yes'>
      <format type='qcow2'/>
      <source file='/d/copy' index='3'/>
    </mirror>
    <target dev='vda' bus='virtio'/>
    <alias name='virtio-disk0'/>
  </disk>
  <disk type='file' device='disk'>
    <driver name='qemu' type='raw'/>
    <source file='/d/other'/>
    <target dev='vdb' bus='virtio'/>
    <alias name='virtio-disk1'/>
  </disk>
</devices></domain>)";

TEST(DomainXml, ReadsAChainAndAMirror) {
  const auto disk = read_disk(kLive, "vda");
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ(disk->alias, "virtio-disk0");
  EXPECT_EQ(disk->chain, (conformance::Chain{{{"/d/snap1", "qcow2"}, {"/d/a & b", "raw"}}, true}));
  ASSERT_TRUE(disk->mirror);
  EXPECT_EQ(disk->mirror->path, "/d/copy");
  EXPECT_EQ(disk->mirror->format, "qcow2");
  EXPECT_EQ(disk->mirror->job, "copy");
  EXPECT_EQ(disk->mirror->ready, "yes");
}

TEST(DomainXml, TellsAChainWithoutAnEnd) {
  const auto disk = read_disk(kLive, "vdb");
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ(disk->chain, (conformance::Chain{{{"/d/other", "raw"}}, false}));
  EXPECT_FALSE(disk->mirror);
}

TEST(DomainXml, SaysWhatItDoesNotFind) {
  EXPECT_THAT(read_disk(kLive, "vdc").error(), HasSubstr("'vdc'"));
  EXPECT_THAT(read_disk("<domain", "vda").error(), HasSubstr("no XML"));
}

TEST(DomainXml, EscapesWhatItWrites) {
  const std::string xml = to_xml({.name = "a<b",
                                  .emulator = "/e & f",
                                  .console = "/dev/pts/1",
                                  .disks = {{"vda", "/it's", "qcow2"}}});
  EXPECT_THAT(xml, HasSubstr("<name>a&lt;b</name>"));
  EXPECT_THAT(xml, HasSubstr("<emulator>/e &amp; f</emulator>"));
  EXPECT_EQ(read_disk(xml, "vda")->chain.links.front().path, "/it's");
}

}  // namespace
}  // namespace real_libvirt
