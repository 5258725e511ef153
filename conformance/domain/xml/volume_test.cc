#include "conformance/domain/xml/volume.h"

#include <gtest/gtest.h>

#include "conformance/domain/xml/xml_for_test.h"

namespace conformance::xml {
namespace {

std::string volume_with(const std::string& capacity, const std::string& rest = "") {
  return "<volume><name>v</name>" + capacity + rest + "</volume>";
}

DomainError error_for(const std::string& text) {
  const auto read = parse_volume(text);
  EXPECT_FALSE(read.has_value()) << text;
  return read ? DomainError{} : error_of(read.error());
}

// Measured: createXML of libvirt 9.0.0's test driver, in its directory pool.
TEST(Volume, RefusesWhatLibvirtRefuses) {
  const auto storage = [](const std::string& message) {
    return DomainError{"STORAGE", "XML_ERROR", message};
  };
  const auto unsupported = [](const std::string& message) {
    return DomainError{"STORAGE", "CONFIG_UNSUPPORTED", message};
  };
  EXPECT_EQ(error_for("foo"),
            (DomainError{"STORAGE", "XML_DETAIL",
                         "(storage_volume_definition):1: Start tag expected, '<' not found"}));
  EXPECT_EQ(error_for("<vol/>"),
            (DomainError{"XML", "XML_ERROR", "expecting root element of 'volume', not 'vol'"}));
  EXPECT_EQ(error_for("<volume/>"), storage("missing volume name element"));
  EXPECT_EQ(error_for(volume_with("")), storage("missing capacity element"));
  EXPECT_EQ(error_for(volume_with("<capacity/>")), storage("missing capacity element"));
  for (const char* bad : {"x", "-1", " 1 ", "99999999999999999999"})
    EXPECT_EQ(error_for(volume_with("<capacity>" + std::string(bad) + "</capacity>")),
              storage("malformed capacity element"));
  EXPECT_EQ(error_for(volume_with("<capacity>1</capacity><allocation>x</allocation>")),
            storage("malformed capacity element"));
  EXPECT_EQ(error_for(volume_with("<capacity unit='ZiB'>1</capacity>")),
            (DomainError{"NONE", "INVALID_ARG", "unknown suffix 'ZiB'"}));
  EXPECT_EQ(error_for(volume_with("<capacity unit='EiB'>99</capacity>")),
            (DomainError{"NONE", "OVERFLOW", "value too large: 99EiB"}));
  EXPECT_EQ(error_for("<volume type='foo'><name>v</name><capacity>1</capacity></volume>"),
            unsupported("unknown volume type 'foo'"));
  for (const char* bad : {"foo", "none", "auto"}) {
    const std::string format = "<format type='" + std::string(bad) + "'/>";
    EXPECT_EQ(error_for(volume_with("<capacity>1</capacity>", "<target>" + format + "</target>")),
              unsupported("unknown volume format type " + std::string(bad)));
    EXPECT_EQ(error_for(volume_with("<capacity>1</capacity>",
                                    "<backingStore><path>/b</path>" + format + "</backingStore>")),
              unsupported("unknown volume format type " + std::string(bad)));
  }
}

TEST(Volume, Units) {
  const std::pair<const char*, std::uint64_t> units[] = {
      {"", 1},           {"B", 1},           {"bytes", 1},          {"k", 1024},
      {"KB", 1000},      {"kib", 1024},      {"M", 1U << 20U},      {"MB", 1000000},
      {"G", 1U << 30U},  {"GiB", 1U << 30U}, {"TB", 1000000000000}, {"PiB", 1ULL << 50U},
      {"E", 1ULL << 60U}};
  for (const auto& [unit, bytes] : units) {
    const auto volume =
        parse_volume(volume_with("<capacity unit='" + std::string(unit) + "'>2</capacity>"));
    ASSERT_TRUE(volume.has_value());
    EXPECT_EQ(volume->capacity, 2 * bytes) << unit;
  }
}

TEST(Volume, ImageAndBackingAreSources) {
  const auto volume =
      parse_volume(volume_with("<capacity>1</capacity>",
                               "<target><path>/v</path><format type='qcow2'/></target>"
                               "<backingStore><path>/b</path></backingStore>"));
  ASSERT_TRUE(volume.has_value());
  EXPECT_EQ(volume->source.path, "/v");
  EXPECT_EQ(volume->source.format, "qcow2");
  ASSERT_NE(volume->source.backing.source(), nullptr);
  EXPECT_EQ(volume->source.backing.source()->path, "/b");
  EXPECT_EQ(volume->source.backing.source()->format, "raw");
  const auto alone = parse_volume(volume_with("<capacity>1</capacity>", "<backingStore/>"));
  ASSERT_TRUE(alone.has_value());
  EXPECT_EQ(alone->source.backing.knowledge(), Backing::Knowledge::terminated);
  EXPECT_EQ(alone->source.format, "raw");
}

// Recorded from libvirt 9.0.0's test driver: what vol-dumpxml shows.
TEST(Volume, LibvirtsOwnTextSurvivesToTheByte) {
  const std::string text = testdata("volume.xml");
  const auto volume = parse_volume(text);
  ASSERT_TRUE(volume.has_value()) << error_of(volume.error()).message;
  EXPECT_EQ(format_volume(*volume), text);
  EXPECT_EQ(volume->source.encryption->secrets.size(), 1U);
}

}  // namespace
}  // namespace conformance::xml
