#include "real-qemu/posix_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "real-qemu/directory.h"

namespace real_qemu {
namespace {

class PosixFilesTest : public ::testing::Test {
 protected:
  PrivateDirectory directory_ = std::move(*PrivateDirectory::make(scratch_place()));
  PosixFiles files_{directory_.path()};
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
};

TEST_F(PosixFilesTest, CreatesSparseFilesAndReadsZeroesBeyondTheEnd) {
  ASSERT_TRUE(files_.create(path("b"), 1 << 20));
  EXPECT_EQ(files_.size(path("b")), 1U << 20);
  struct stat status{};
  ASSERT_EQ(::stat(path("b").c_str(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
  const std::array<std::byte, 3> data = {std::byte{1}, std::byte{2}, std::byte{3}};
  ASSERT_TRUE(files_.write(path("b"), (1 << 20) - 1, data));
  EXPECT_EQ(files_.size(path("b")), (1U << 20) + 2);
  std::array<std::byte, 5> read{};
  read.fill(std::byte{7});
  ASSERT_TRUE(files_.read(path("b"), (1 << 20) - 2, read));
  EXPECT_EQ(read, (std::array<std::byte, 5>{std::byte{0}, std::byte{1}, std::byte{2}, std::byte{3},
                                            std::byte{0}}));
  ASSERT_TRUE(files_.create(path("b"), 0)) << "replaces";
  EXPECT_EQ(files_.size(path("b")), 0U);
  ASSERT_TRUE(files_.create(path("a"), 1));
  EXPECT_EQ(files_.names(), (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(files_.remove(path("a")));
  EXPECT_EQ(files_.names(), std::vector<std::string>{"b"});
}

TEST_F(PosixFilesTest, AMissingFileIsEnoent) {
  std::array<std::byte, 1> buffer{};
  EXPECT_EQ(files_.size(path("none")), std::nullopt);
  EXPECT_EQ(files_.read(path("none"), 0, buffer).error().number, ENOENT);
  EXPECT_EQ(files_.write(path("none"), 0, buffer).error().number, ENOENT);
  EXPECT_EQ(files_.remove(path("none")).error().number, ENOENT);
}

TEST_F(PosixFilesTest, StaysInItsDirectory) {
  std::array<std::byte, 1> buffer{};
  EXPECT_EQ(files_.read("/etc/passwd", 0, buffer).error().number, EACCES);
  EXPECT_EQ(files_.create(path("../x"), 1).error().number, EACCES);
  EXPECT_EQ(files_.create(path(".."), 1).error().number, EACCES);
  EXPECT_EQ(files_.size(directory_.path()), std::nullopt);
  ASSERT_EQ(::symlink("/etc/passwd", path("link").c_str()), 0);
  EXPECT_EQ(files_.read(path("link"), 0, buffer).error().number, ELOOP);
}

TEST(PrivateDirectory, VanishesWithEverythingInIt) {
  std::string path;
  {
    auto directory = PrivateDirectory::make(scratch_place());
    ASSERT_TRUE(directory);
    path = directory->path();
    auto inner = PrivateDirectory::make_at(path + "/1");
    ASSERT_TRUE(inner);
    ASSERT_TRUE(PosixFiles(inner->path()).create(inner->path() + "/x", 1));
    const PrivateDirectory moved = std::move(*directory);
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(PrivateDirectory::make("/nowhere/at/all"));
}

}  // namespace
}  // namespace real_qemu
