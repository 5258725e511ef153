#include "sim/storage/window.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace sim::storage {
namespace {

class WindowTest : public ::testing::Test {
 protected:
  WindowTest() : bytes_(5 * 4096 + 100) {
    for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = std::byte(i % 251 + 1);
    std::string path = testing::TempDir() + "/windowXXXXXX";
    descriptor_ = ::mkstemp(path.data());
    ::unlink(path.c_str());
    EXPECT_EQ(::write(descriptor_, bytes_.data(), bytes_.size()),
              static_cast<ssize_t>(bytes_.size()));
  }
  ~WindowTest() override { ::close(descriptor_); }

  Bytes part(std::size_t offset, std::size_t length) const {
    return Bytes(bytes_).subspan(offset, length);
  }

  std::vector<std::byte> bytes_;
  int descriptor_ = -1;
};

TEST_F(WindowTest, ShowsTheFileFromAnyByteOn) {
  Window window;
  for (const std::size_t offset : {0, 1, 4095, 4096, 12345})
    for (const std::size_t length : {1, 512, 4096, 8000}) {
      const Bytes seen = window.show(descriptor_, offset, length);
      ASSERT_EQ(seen.size(), length);
      EXPECT_TRUE(std::ranges::equal(seen, part(offset, length))) << offset << " " << length;
    }
  EXPECT_TRUE(window.held());
}

TEST_F(WindowTest, ShowsNothingThatIsNotThere) {
  Window window;
  EXPECT_TRUE(window.show(descriptor_, 0, bytes_.size() + 1).empty());
  EXPECT_TRUE(window.show(descriptor_, bytes_.size(), 1).empty());
  EXPECT_TRUE(window.show(descriptor_, UINT64_MAX, 2).empty());
  EXPECT_TRUE(window.show(descriptor_, 0, 0).empty());
  EXPECT_TRUE(window.show(-1, 0, 1).empty());
  EXPECT_EQ(window.show(descriptor_, 0, bytes_.size()).size(), bytes_.size());
}

TEST_F(WindowTest, AFileThatIsCutShortReadsAsZeroesAndIsNoticed) {
  Window window, other;
  const Bytes seen = window.show(descriptor_, 100, 4 * 4096);
  const Bytes untouched = other.show(descriptor_, 0, 512);
  ASSERT_EQ(::ftruncate(descriptor_, 4096), 0);
  EXPECT_EQ(seen[0], bytes_[100]);
  EXPECT_TRUE(window.held());
  EXPECT_EQ(seen[2 * 4096], std::byte{0});
  EXPECT_FALSE(window.held());
  EXPECT_EQ(untouched[511], bytes_[511]);
  EXPECT_TRUE(other.held());
  // What is shown next is the file's again.
  EXPECT_EQ(window.show(descriptor_, 0, 4096)[99], bytes_[99]);
  EXPECT_TRUE(window.held());
}

TEST_F(WindowTest, AClosedWindowCanBeClosedAgain) {
  Window window;
  EXPECT_FALSE(window.show(descriptor_, 0, 1).empty());
  window.close();
  window.close();
  EXPECT_FALSE(window.show(descriptor_, 0, 1).empty());
}

TEST_F(WindowTest, ManyWindowsAtOnce) {
  std::vector<std::unique_ptr<Window>> windows;
  std::size_t shown = 0;
  for (int i = 0; i < 100; ++i) {
    windows.push_back(std::make_unique<Window>());
    shown += windows.back()->show(descriptor_, 0, 4096).empty() ? 0 : 1;
  }
  EXPECT_GE(shown, 32U);
  windows.erase(windows.begin());
  EXPECT_FALSE(Window().show(descriptor_, 0, 4096).empty());
}

// A fault elsewhere is nobody's business here: the process ends as it would without windows.
TEST_F(WindowTest, OtherFaultsGoOn) {
  EXPECT_EXIT(
      {
        Window window;
        (void)window.show(descriptor_, 0, 1);
        ::raise(SIGBUS);
        ::raise(SIGBUS);
      },
      [](int status) { return status != 0; }, "");
}

}  // namespace
}  // namespace sim::storage
