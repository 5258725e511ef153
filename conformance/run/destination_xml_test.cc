// The document of a destination, by the forms that real libvirt 9.0 was given and took.

#include "conformance/run/destination_xml.h"

#include <gtest/gtest.h>

#include "sim/base/text.h"

namespace conformance {
namespace {

CopyDestination file(const std::string& path) {
  CopyDestination destination;
  destination.path = path;
  return destination;
}

std::string flat(const CopyDestination& destination) {
  return sim::replace_all(sim::replace_all(to_xml(destination), "\n", ""), "  ", "");
}

TEST(DestinationXml, SaysWhatTheScenarioSays) {
  EXPECT_EQ(flat(file("/d/copy")), "<disk type='file'><source file='/d/copy'/></disk>");
  CopyDestination device = file("/d/copy");
  device.is_device = true;
  device.format = CopyDestination::Format::raw;
  EXPECT_EQ(flat(device), "<disk type='block'><driver type='raw'/><source dev='/d/copy'/></disk>");
  CopyDestination ended = file("/d/copy");
  ended.terminated = true;
  EXPECT_EQ(flat(ended), "<disk type='file'><source file='/d/copy'/><backingStore/></disk>");
}

TEST(DestinationXml, LayersNestFromTheTop) {
  CopyDestination destination = file("/d/c");
  destination.backing = {{"/d/a", Image::Format::qcow2}, {"/d/b", Image::Format::raw}};
  EXPECT_EQ(flat(destination),
            "<disk type='file'><source file='/d/c'/>"
            "<backingStore type='file'><format type='qcow2'/><source file='/d/a'/>"
            "<backingStore type='file'><format type='raw'/><source file='/d/b'/>"
            "</backingStore></backingStore></disk>");
  destination.terminated = true;
  EXPECT_TRUE(flat(destination).contains("<source file='/d/b'/><backingStore/></backingStore>"));
}

TEST(DestinationXml, ADocumentStaysAsItIs) {
  CopyDestination document;
  document.xml = "<disk";
  EXPECT_EQ(to_xml(document), "<disk");
  EXPECT_TRUE(flat(file("/d/a'<b")).contains("/d/a&apos;&lt;b"));
}

}  // namespace
}  // namespace conformance
