// The simulator as each release and that release itself, asked the same: qmp_jobs.json holds what
// is asked.  Releases that are not installed (./dev qemu all) are skipped but for the system's.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "conformance/run/sim_target.h"
#include "real-qemu/differential/images_for_test.h"
#include "real-qemu/qemu_target.h"

namespace differential {
namespace {

constexpr const char* kDataFile = UNDERSTUDY_SOURCE_DIR "/real-qemu/differential/qmp_jobs.json";

std::vector<std::string> releases() {
  std::vector<std::string> names;
  for (const sim::Profile& profile : sim::kProfiles) names.emplace_back(profile.name);
  return names;
}

// The installed release, or the system's if it is of that release; null if there is none.
std::unique_ptr<real_qemu::QemuTarget> find_release(const std::string& release) {
  if (auto installed = real_qemu::QemuTarget::find("qemu:" + release)) return *std::move(installed);
  auto system = real_qemu::QemuTarget::find("qemu");
  if (system && (*system)->release() == release) return *std::move(system);
  return nullptr;
}

class QmpJobs : public ::testing::TestWithParam<std::tuple<std::string, Sequence>> {
 protected:
  static const Images& images() {
    static const Images made = make_chain();
    return made;
  }
};

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

void compare(const Sequence& sequence, const Replay& ours, const Replay& theirs) {
  for (std::size_t i = 0; i < std::min(ours.replies.size(), theirs.replies.size()); ++i)
    EXPECT_EQ(ours.replies[i], theirs.replies[i])
        << sequence.steps[i].dump() << "\nleft: simulator, right: QEMU";
  EXPECT_EQ(theirs.failure, "") << "QEMU";
  EXPECT_EQ(ours.failure, "") << "simulator";
  for (const auto& [job, events] : theirs.events) {
    const auto found = ours.events.find(job);
    EXPECT_EQ(found == ours.events.end() ? "" : joined(found->second), joined(events))
        << "events of '" << job << "'; left: simulator, right: QEMU";
  }
  for (const auto& [job, events] : ours.events)
    EXPECT_TRUE(theirs.events.contains(job)) << "only the simulator tells of " << job;
  for (const auto& [name, bytes] : theirs.files)
    EXPECT_TRUE(ours.files.at(name) == bytes) << name << " has other bytes";
}

TEST_P(QmpJobs, AreDoneAlike) {
  const auto& [release, sequence] = GetParam();
  if (sequence.since == "7.2" && release == "5.2") GTEST_SKIP() << "5.2 has not these commands";
  ASSERT_FALSE(images().empty()) << "qemu-img and qemu-io are needed: package qemu-utils";
  const auto qemu = find_release(release);
  if (!qemu) GTEST_SKIP() << "QEMU " << release << " is not installed: ./dev qemu " << release;
  conformance::SimTarget simulator(*sim::find_profile(release));
  compare(sequence, replay(simulator, images(), sequence, false),
          replay(*qemu, images(), sequence, true));
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<std::string, Sequence>>& info) {
  std::string name;
  for (const char c : std::get<0>(info.param) + " " + std::get<1>(info.param).name)
    name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, QmpJobs,
                         ::testing::Combine(::testing::ValuesIn(releases()),
                                            ::testing::ValuesIn(load_sequences(kDataFile))),
                         name_of);

}  // namespace
}  // namespace differential
