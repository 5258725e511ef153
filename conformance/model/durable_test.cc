#include "conformance/model/durable.h"

#include <gtest/gtest.h>

#include "conformance/model/domain_model.h"

namespace conformance::model {
namespace {

class DurableTest : public ::testing::Test {
 protected:
  DurableTest() {
    model_.add_image({.name = "top", .size = 4 * kPiece, .cluster_size = kPiece});
    model_.fill("top", 0, 2 * kPiece, 1);
    model_.add_disk("vda", "top");
  }
  View view() const { return model_.guest_view("vda"); }

  static constexpr std::uint64_t kPiece = 65536;
  DomainModel model_{"/d"};
};

TEST_F(DurableTest, EachPlaceMayBeWhatItWasSinceTheLastFlush) {
  Durable durable(view());
  EXPECT_EQ(text(durable.may()), "1*128k 0*128k");
  model_.guest_write("vda", kPiece, 2 * kPiece, 7);
  durable.changed(view());
  EXPECT_EQ(text(durable.may()), "1*64k 1|7*64k 0|7*64k 0*64k");
  model_.guest_zero("vda", kPiece, kPiece);
  durable.changed(view());
  EXPECT_EQ(text(durable.may()), "1*64k 0|1|7*64k 0|7*64k 0*64k");
  durable.flushed(view());
  EXPECT_EQ(text(durable.may()), "1*64k 0*64k 7*64k 0*64k");
}

TEST_F(DurableTest, AFailedRequestMayHaveDoneItsWorkOrNot) {
  const Layer before = model_.active_layer("vda");
  model_.guest_write("vda", kPiece, 2 * kPiece, 7);
  model_.guest_failed("vda", before);
  EXPECT_EQ(text(view()), "1*64k 1|7*64k 0|7*64k 0*64k");
  EXPECT_TRUE(model_.files().front().layer.at(2 * kPiece).absent);
  model_.guest_write("vda", kPiece, 2 * kPiece, 7);
  EXPECT_EQ(text(view()), "1*64k 7*128k 0*64k");
}

}  // namespace
}  // namespace conformance::model
