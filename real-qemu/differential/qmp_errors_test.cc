// The simulator and the real QEMU 7.2, asked the same: qmp_requests.json holds what is asked.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "conformance/run/sim_target.h"
#include "real-qemu/differential/images_for_test.h"
#include "real-qemu/qemu_target.h"

namespace differential {
namespace {

constexpr const char* kDataFile = UNDERSTUDY_SOURCE_DIR "/real-qemu/differential/qmp_requests.json";

// Written by the real qemu-img and qemu-io; those that are broken, broken by a byte.
Images make_images() {
  Images images = make_chain();
  if (images.empty()) return images;
  std::vector<std::byte> junk;
  for (int i = 0; i < 1000; ++i)
    for (const char c : std::string_view("hello world")) junk.push_back(std::byte(c));
  images["junk.qcow2"] = junk;
  const std::vector<std::byte> good = images["snap2.qcow2"];
  images["short.qcow2"].assign(good.begin(), good.begin() + 50);
  images["short2.qcow2"].assign(good.begin(), good.begin() + 20);
  const auto with = [&](std::size_t offset, unsigned value) {
    std::vector<std::byte> bytes = good;
    bytes[offset] = std::byte(value);
    return bytes;
  };
  images["feat.qcow2"] = with(72, 0x80);  // incompatible features: 72..79, big-endian
  images["feat6.qcow2"] = with(79, 0x40);
  images["corrupt.qcow2"] = with(79, 0x02);
  images["ver9.qcow2"] = with(7, 9);
  images["cl60.qcow2"] = with(23, 60);
  return images;
}

class QmpRequests : public ::testing::TestWithParam<Sequence> {
 protected:
  static void SetUpTestSuite() {
    images_ = new Images(make_images());
    auto found = real_qemu::QemuTarget::find("qemu");
    if (found) qemu_ = found->release();
  }
  static void TearDownTestSuite() {
    delete qemu_;
    delete images_;
  }
  static inline Images* images_ = nullptr;
  static inline real_qemu::QemuTarget* qemu_ = nullptr;
};

bool refused_by_name(const Json& reply) {
  const Json text =
      reply.contains("error") ? reply["error"]["desc"] : reply.value("return", Json());
  return text.is_string() && text.get_ref<const std::string&>().starts_with("understudy:");
}

void compare_replies(const Step& step, const Json& ours, const Json& theirs) {
  SCOPED_TRACE(step.dump());
  if (step.value("unsupported", false)) {
    EXPECT_TRUE(refused_by_name(ours)) << "no longer unsupported: " << ours.dump();
  } else if (step.contains("known_difference")) {
    EXPECT_NE(ours, theirs) << "no longer different; take the mark away";
    EXPECT_FALSE(refused_by_name(ours)) << "mark it \"unsupported\"";
  } else {
    EXPECT_EQ(ours, theirs) << "left: simulator, right: QEMU";
  }
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST_P(QmpRequests, AreAnsweredAlike) {
  ASSERT_TRUE(qemu_) << "needs qemu-system-x86_64 7.2: ./dev setup";
  ASSERT_EQ(qemu_->release(), "7.2") << "the data file says what 7.2 does";
  ASSERT_FALSE(images_->empty()) << "qemu-img and qemu-io are needed: package qemu-utils";
  conformance::SimTarget simulator(*sim::qmp::find_profile("7.2"));
  const Replay ours = replay(simulator, *images_, GetParam(), false);
  const Replay theirs = replay(*qemu_, *images_, GetParam(), true);
  for (std::size_t i = 0; i < std::min(ours.replies.size(), theirs.replies.size()); ++i)
    compare_replies(GetParam().steps[i], ours.replies[i], theirs.replies[i]);
  ASSERT_EQ(theirs.failure, "") << "QEMU";
  ASSERT_EQ(ours.failure, "") << "simulator";
  for (const auto& [job, events] : theirs.events) {
    const auto found = ours.events.find(job);
    EXPECT_EQ(found == ours.events.end() ? "" : joined(found->second), joined(events))
        << "events of '" << job << "'; left: simulator, right: QEMU";
  }
  for (const auto& [job, events] : ours.events)
    EXPECT_TRUE(theirs.events.contains(job)) << "only the simulator tells of " << job;
}

TEST(QmpRequestsFile, IsThere) { EXPECT_GT(load_sequences(kDataFile).size(), 10U); }

INSTANTIATE_TEST_SUITE_P(All, QmpRequests, ::testing::ValuesIn(load_sequences(kDataFile)),
                         [](const auto& param) {
                           std::string name;
                           for (const char c : param.param.name)
                             name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace differential
