// What a power cut may not have done.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "conformance/check/files.h"
#include "conformance/inspect/directory_for_test.h"

namespace conformance::check {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

class AfterCutTest : public ::testing::Test {
 protected:
  AfterCutTest() {
    EXPECT_TRUE(files_.create(path(), 1024).ok());
    const std::vector<std::byte> ones(512, std::byte{1});
    EXPECT_TRUE(files_.write(path(), 0, ones).ok());
  }
  std::string path() const { return files_.directory() + "/disk"; }
  std::vector<Divergence> compare(const model::View& may, model::Format format) {
    const model::FileExpectation file{.name = "disk", .layer = model::Layer(format, 1024)};
    return compare_after_cut(files_, {file}, {{"vda", path(), name_of(format), may}});
  }

  inspect::TestDirectory files_;
};

TEST_F(AfterCutTest, EveryByteIsOneThatMayBe) {
  model::Values old_or_new = model::value(1);
  old_or_new.set(0);
  EXPECT_THAT(compare({{0, 1024, old_or_new}}, model::Format::raw), IsEmpty());
  EXPECT_THAT(compare({{0, 512, model::value(1)}, {512, 512, model::value(2)}}, model::Format::raw),
              ElementsAre(Field(&Divergence::divergence_class, DivergenceClass::data)));
}

TEST_F(AfterCutTest, AnImageThatDoesNotOpenIsFound) {
  EXPECT_THAT(
      compare({{0, 1024, model::value(1)}}, model::Format::qcow2),
      ElementsAre(Field(&Divergence::requirement, "the image opens after a power cut"),
                  Field(&Divergence::requirement, "the disk can be read after a power cut")));
}

}  // namespace
}  // namespace conformance::check
