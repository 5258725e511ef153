// What the model says of a lock manager, by docs/decisions/leases-and-labels.md.

#include <gtest/gtest.h>

#include "conformance/model/domain_model.h"

namespace conformance::model {
namespace {

using Held = DomainModel::HeldLeases;

class Leases : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto& [name, backing] : {std::pair{"base", ""},
                                        {"snap1", "base"},
                                        {"snap2", "snap1"},
                                        {"snap3", "snap2"},
                                        {"other", ""},
                                        {"over", "other"},
                                        {"second", "base"}})
      model_.add_image({.name = name, .size = 1U << 20, .backing = backing});
    model_.fill("snap1", 0, 65536, 1);
    model_.add_disk("vda", "snap3");
  }
  static std::string text(const CallPrediction& prediction) {
    if (prediction.unknown) return "unknown: " + *prediction.unknown;
    return prediction.refusal ? prediction.refusal->code + ": " + prediction.refusal->message
                              : "accepted";
  }
  std::string commit(const char* top, std::uint32_t flags) {
    return text(model_.block_commit("vda", std::nullopt,
                                    top == nullptr ? std::nullopt : std::optional<std::string>(top),
                                    0, flags));
  }
  std::string copy(const char* to, std::uint32_t flags) {
    return text(model_.block_rebase("vda", std::string("/d/") + to, 0, kCopy | flags));
  }
  DomainModel model_{"/d"};
};

TEST_F(Leases, OfAChain) {
  EXPECT_EQ(model_.leases("vda"),
            (Held{{"snap3", true}, {"snap2", false}, {"snap1", false}, {"base", false}}));
}

TEST_F(Leases, ACommitWritesItsBaseAndTheHeaderAbove) {
  model_.use_lock_manager({});
  ASSERT_EQ(commit("/d/snap1", 0), "accepted");
  EXPECT_EQ(model_.leases("vda"),
            (Held{{"snap3", true}, {"snap2", true}, {"snap1", false}, {"base", true}}));
  model_.on_completed("vda");
  EXPECT_EQ(model_.leases("vda"), (Held{{"snap3", true}, {"snap2", false}, {"base", false}}));
}

TEST_F(Leases, WhatIsRemovedIsNobodyElses) {
  model_.use_lock_manager({});
  ASSERT_EQ(commit("/d/snap2", kCommitDelete), "accepted");
  EXPECT_EQ(model_.leases("vda"),
            (Held{{"snap3", true}, {"snap2", true}, {"snap1", true}, {"base", true}}));
}

TEST_F(Leases, OfACopyAndWhatWillBeBeneathIt) {
  model_.use_lock_manager({});
  ASSERT_EQ(copy("over", kShallow | kReuseExt), "accepted");
  EXPECT_EQ(model_.leases("vda"), (Held{{"snap3", true},
                                        {"snap2", false},
                                        {"snap1", false},
                                        {"base", false},
                                        {"over", true},
                                        {"other", false}}));
  ASSERT_EQ(text(model_.block_job_abort("vda", 0)), "accepted");
  EXPECT_EQ(model_.leases("vda").size(), 4U);
}

TEST_F(Leases, RefuseByFileThenByHolder) {
  const std::string busy = "RESOURCE_BUSY: Lockspace resource '/d/";
  model_.use_lock_manager({{"snap1", "pool", false},
                           {"snap1", "a", false},
                           {"base", "pool", false},
                           {"copy", "pool", false},
                           {"other", "b", true}});
  EXPECT_EQ(commit("/d/snap1", kCommitDelete), busy + "base' is locked by 'pool'");
  EXPECT_EQ(text(model_.block_commit("vda", "/d/snap1", std::nullopt, 0, kCommitActive)),
            busy + "snap1' is locked by 'a'");
  EXPECT_EQ(copy("copy", 0), busy + "copy' is locked by 'pool'");
  EXPECT_EQ(copy("over", kShallow | kReuseExt), busy + "other' is locked by 'b'");
  EXPECT_EQ(model_.leases("vda").size(), 4U);
  EXPECT_EQ(copy("over", kReuseExt), "accepted");
}

TEST_F(Leases, OfOtherDisksCount) {
  model_.add_disk("vdb", "second");
  EXPECT_EQ(commit(nullptr, kCommitActive), "unknown: another disk uses what is written to");
  model_.use_lock_manager({});
  EXPECT_EQ(commit(nullptr, kCommitActive),
            "RESOURCE_BUSY: Lockspace resource '/d/base' is locked by 'domain/vdb'");
}

}  // namespace
}  // namespace conformance::model
