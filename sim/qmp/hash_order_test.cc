// Orders that QEMU was seen to follow (the same on 5.2, 7.2, 10.0 and 11.1).

#include "sim/qmp/hash_order.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sim::qmp {
namespace {

std::string first_of(std::vector<std::string_view> names,
                     const std::vector<std::string_view>& taken) {
  sort_as_dictionary(names);
  HashOrder order;
  for (const std::string_view name : names) order.insert(name);
  for (const std::string_view name : taken) order.remove(name);
  return std::string(order.first());
}

TEST(HashOrder, OfFewNames) {
  EXPECT_EQ(first_of({"driver", "filename", "q", "r", "size"}, {"driver", "filename", "size"}),
            "r");
  EXPECT_EQ(first_of({"id", "node", "not-declared", "pci-dev", "qom-type"}, {"qom-type", "id"}),
            "pci-dev");
  EXPECT_EQ(first_of({"a"}, {"a"}), "");
}

TEST(HashOrder, OfATableThatGrew) {
  std::vector<std::string> made = {"bitmaps", "node", "not-declared", "target", "unheard-of"};
  for (const int n : {0, 1, 100, 121, 16, 25, 36, 4, 49, 64, 81, 9})
    made.push_back("unheard-of-" + std::to_string(n));
  EXPECT_EQ(first_of({made.begin(), made.end()}, {"node", "target", "bitmaps"}), "unheard-of-81");
}

}  // namespace
}  // namespace sim::qmp
