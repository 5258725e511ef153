#include "sim/base/qdict_text.h"

#include <gtest/gtest.h>

namespace sim {
namespace {

// Texts of query-named-block-nodes as 5.2, 7.2 and 11.1 give them.
TEST(QdictText, IsInQemusOrder) {
  const Json file = {{"driver", "file"}, {"filename", "/b"}};
  EXPECT_EQ(qdict_text({{"driver", "null-co"}, {"size", 1024}, {"read-zeroes", true}}),
            R"({"read-zeroes": true, "driver": "null-co", "size": 1024})");
  EXPECT_EQ(qdict_text({{"driver", "qcow2"},
                        {"file", file},
                        {"backing", {{"driver", "qcow2"}, {"file", file}}}}),
            R"({"backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "/b"}}, )"
            R"("driver": "qcow2", "file": {"driver": "file", "filename": "/b"}})");
  EXPECT_EQ(qdict_text({{"driver", "qcow2"}, {"backing", nullptr}}),
            R"({"backing": null, "driver": "qcow2"})");
}

}  // namespace
}  // namespace sim
