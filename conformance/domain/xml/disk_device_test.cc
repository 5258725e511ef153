#include "conformance/domain/xml/disk_device.h"

#include <gtest/gtest.h>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/xml_for_test.h"
#include "sim/base/json.h"

namespace conformance::xml {
namespace {

sim::Json recorded() { return sim::Json::parse(testdata("disks.json")); }

// Refusals of libvirt's later checks, of what this room keeps without a meaning.
bool not_of_this_room(const std::string& message) {
  for (const char* start :
       {"Invalid value for attribute 'order' in element 'boot'",
        "driver does not support FD passing for disk 'vda'",
        "<reservations/> allowed only for lun devices", "rawio can be used only with device='lun'",
        "disk device 'lun' doesn't support storage slice",
        "disk device 'lun' doesn't support encryption",
        "Invalid address type 'pci' for the disk 'sda' with the bus type 'scsi'"})
    if (message.starts_with(start)) return true;
  return false;
}

// True of documents that we write otherwise on purpose.
bool kept_otherwise(const std::string& disks) {
  for (const char* mark :
       {// What libvirt 9.0 does not know, it drops: we keep it.
        "<foo/>", "<source file='/v'/><encryption", "discard_no_unref",
        "tlsHostname='q'><reconnect", "foo='x'",
        // Only shown with VIR_DOMAIN_XML_SECURE.
        "<cookies>",
        // libvirt prints a null pointer.
        "'a/'",
        // libvirt writes a line end into an attribute, and would read a blank.
        "&#10;",
        // Empty is not given; here libvirt cannot read what it writes.
        "'http' name=''", "<format type='raw'/><source/>", "name='' type='raw'", "pool=''"})
    if (disks.contains(mark)) return true;
  return false;
}

TEST(DiskDevice, RefusesWhatLibvirtRefuses) {
  unsigned same = 0;
  for (const sim::Json& each : recorded()) {
    if (!each.contains("error")) continue;
    const auto disks = each["disks"].get<std::string>();
    const DomainError real{each["error"][0], each["error"][1], each["error"][2]};
    const auto ours = parse_domain(domain_with(disks), Form::inactive);
    if (not_of_this_room(real.message)) {
      EXPECT_TRUE(ours.has_value()) << disks;
      continue;
    }
    EXPECT_FALSE(ours.has_value()) << disks << "\nreal: " << real.message;
    if (ours) continue;
    DomainError error = error_of(ours.error());
    if (real.message.starts_with("invalid secret uuid")) error.message = real.message;
    EXPECT_EQ(error.domain, real.domain) << disks;
    EXPECT_EQ(error.code, real.code) << disks;
    EXPECT_EQ(error.message, real.message) << disks;
    ++same;
  }
  EXPECT_GT(same, 100U);
}

TEST(DiskDevice, WritesWhatLibvirtWrites) {
  unsigned same = 0;
  for (const sim::Json& each : recorded()) {
    if (!each.contains("out")) continue;
    const auto disks = each["disks"].get<std::string>();
    if (kept_otherwise(disks)) continue;
    const auto ours = parse_domain(domain_with(disks), Form::inactive);
    EXPECT_TRUE(ours.has_value()) << disks << "\n" << (ours ? "" : error_of(ours.error()).message);
    if (!ours) continue;
    const auto written = disks_of(format_domain(*ours, Form::inactive));
    const auto real = disks_of(domain_with(each["out"].get<std::string>()));
    for (const auto& [target, disk] : real) {
      if (!written.contains(target))
        ADD_FAILURE() << target << " of " << disks;
      else
        EXPECT_EQ(written.at(target), without_assigned_address(disk, written.at(target))) << disks;
    }
    ++same;
  }
  EXPECT_GT(same, 100U);
}

TEST(DiskDevice, SecretsAreReferencesOnly) {
  const auto domain =
      parse_domain(domain_with("<disk><source file='/a'><encryption format='luks'>"
                               "<secret type='passphrase' usage='of a' "
                               "value='hunter2'>hunter2</secret></encryption></source>"
                               "<target dev='vda'/></disk>"));
  ASSERT_TRUE(domain.has_value());
  const std::string text = format_domain(*domain, Form::live);
  EXPECT_FALSE(text.contains("hunter2"));
  EXPECT_TRUE(text.contains("<secret type='passphrase' usage='of a'/>"));
  const auto refused = parse_domain(domain_with(
      "<disk><source file='/a'><encryption format='luks'><secret type='passphrase' uuid='hunter2'/>"
      "</encryption></source><target dev='vda'/></disk>"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(error_of(refused.error()), (DomainError{"NONE", "XML_ERROR", "invalid secret uuid"}));
}

DomainError live_error(const std::string& rest) {
  const auto read = parse_domain(
      domain_with("<disk><source file='/a'/><target dev='vda'/>" + rest + "</disk>"), Form::live);
  EXPECT_FALSE(read.has_value()) << rest;
  return read ? DomainError{} : error_of(read.error());
}

// Texts from the library: only libvirt itself reads live documents, when it starts again.
TEST(DiskDevice, RefusesLiveDocuments) {
  const auto error = [](const std::string& message) {
    return DomainError{"DOMAIN", "XML_ERROR", message};
  };
  EXPECT_EQ(live_error("<backingStore type='file' index='x'><format type='raw'/><source file='/b'/>"
                       "</backingStore>"),
            error("invalid storage source index 'x'"));
  EXPECT_EQ(live_error("<mirror type='file' job='foo'/>"), error("unknown mirror job type 'foo'"));
  EXPECT_EQ(live_error("<mirror type='file' job='copy'/>"),
            error("mirror requires source element"));
  EXPECT_EQ(live_error("<mirror job='active-commit'/>"),
            error("mirror without type only supported by copy job"));
  EXPECT_EQ(live_error("<mirror/>"), error("mirror requires file name"));
  EXPECT_EQ(live_error("<mirror file='/m' ready='foo'/>"), error("unknown mirror ready state foo"));
  EXPECT_EQ(live_error("<mirror type='foo'><source/></mirror>"),
            error("unknown storage source type 'foo'"));
}

TEST(DiskDevice, OldMirrors) {
  const auto domain = parse_domain(
      domain_with("<disk><source file='/a'/><mirror file='/m' format='raw' ready='yes'/>"
                  "<target dev='vda'/></disk>"));
  ASSERT_TRUE(domain.has_value());
  ASSERT_TRUE(domain->disks[0].mirror.has_value());
  EXPECT_EQ(domain->disks[0].mirror->source.path, "/m");
  EXPECT_TRUE(format_domain(*domain, Form::live)
                  .contains("<mirror type='file' file='/m' format='raw' job='copy' ready='yes'>"));
}

// In the short while in which a pivot ends, libvirt shows a mirror without a job.
TEST(DiskDevice, MirrorWithoutJob) {
  const std::string mirror = "<mirror type='file' job=''>";
  const auto domain = parse_domain(
      domain_with("<disk><source file='/a'/>" + mirror +
                  "<format type='raw'/><source file='/m'/></mirror><target dev='vda'/></disk>"));
  ASSERT_TRUE(domain.has_value());
  EXPECT_TRUE(format_domain(*domain, Form::live).contains(mirror));
}

}  // namespace
}  // namespace conformance::xml
