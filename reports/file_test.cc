#include "reports/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace reports {
namespace {

class WriteFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "reports.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string read(const std::string& name) const {
    const std::ifstream file(directory_ / name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_), {}));
  }

  std::filesystem::path directory_;
};

TEST_F(WriteFile, WritesAndReplaces) {
  ASSERT_TRUE(write_file(directory_ / "a", "one, and longer"));
  EXPECT_EQ(read("a"), "one, and longer");
  ASSERT_TRUE(write_file(directory_ / "a", "two"));
  EXPECT_EQ(read("a"), "two");
  EXPECT_EQ(files(), 1);
}

TEST_F(WriteFile, LeavesNothingBehindOnAnError) {
  const sim::Result<> missing = write_file(directory_ / "no" / "a", "x");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().desc,
            (directory_ / "no" / "a").string() + ": No such file or directory");
  std::filesystem::create_directory(directory_ / "d");
  EXPECT_FALSE(write_file(directory_ / "d", "x"));
  EXPECT_EQ(files(), 1);
}

TEST_F(WriteFile, APipeStaysAPipe) {
  EXPECT_TRUE(write_file("/dev/null", "x"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

}  // namespace
}  // namespace reports
