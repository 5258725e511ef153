// The power goes at every moment of every short sequence of operations, and any of what was not
// flushed is lost: the image opens, a check finds at worst leaks, flushed data is there.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/qcow2/sweep_for_test.h"
#include "sim/storage/losses_for_test.h"
#include "sim/storage/power_cut.h"

namespace sim::qcow2 {
namespace {

using storage::MemoryFile;
using storage::PowerCut;
using testing::Op;
using testing::Shape;
using testing::Subject;

class PowerCutTest : public ::testing::TestWithParam<Shape> {
 protected:
  // All sequences of one to `length` operations, in turn.
  static void for_each_sequence(std::size_t length,
                                const std::function<void(const std::vector<Op>&)>& visit) {
    std::vector<Op> ops;
    const std::function<void()> extend = [&] {
      if (!ops.empty()) visit(ops);
      if (ops.size() == length) return;
      for (const Op op : testing::kOps) {
        ops.push_back(op);
        extend();
        ops.pop_back();
      }
    };
    extend();
  }

  // Prepares the subject once; every sequence starts from a copy.
  void prepare() {
    const auto made = run(world_, prepared_.prepare(world_, prepared_file_));
    ASSERT_TRUE(made.ok()) << made.error().desc;
  }

  void sequence(const std::vector<Op>& ops) {
    subject_ = prepared_;
    const auto file = std::make_shared<MemoryFile>();
    ASSERT_TRUE(run(world_, storage::copy_file(*prepared_file_, *file)).ok());
    const auto cut = std::make_shared<PowerCut>(file);
    std::uint8_t step = 0;
    // Cuts before the last operation were tried with the shorter sequence.
    cut->before_flush([&] {
      if (step == ops.size()) cut_here(*cut, ops);
    });
    ASSERT_TRUE(run(world_, subject_.open(world_, cut)).ok());
    for (const Op op : ops) {
      const auto done = run(world_, subject_.perform(op, ++step));
      // Counts of one bit cannot be shared.
      const bool cannot = !done && (done.error().number == ENOTSUP ||
                                    (op == Op::snapshot && done.error().number == EINVAL));
      if (cannot) return subject_.drop();
      if (!done) refused_.insert(std::string(name_of(op)) + ": " + done.error().desc);
    }
    cut_here(*cut, ops);
    const auto closed = run(world_, subject_.close());
    EXPECT_TRUE(closed.ok()) << closed.error().desc;
    cut_here(*cut, ops);
  }

  // Tries what may be lost, and some losses drawn.
  void cut_here(PowerCut& cut, const std::vector<Op>& ops) {
    constexpr int kDrawn = 3;
    found_.clear();
    const std::size_t count = cut.unflushed();
    for (const std::vector<bool>& kept : storage::testing::losses(count))
      judge(run(other_world_, cut.after_cut([&](std::size_t i) { return kept[i]; })), ops,
            storage::testing::spell(kept));
    for (int i = 0; count > 0 && i < kDrawn; ++i) {
      Rng rng(static_cast<std::uint64_t>(i));
      judge(run(other_world_, cut.after_cut(rng)), ops, "drawn " + std::to_string(i));
    }
  }

  void judge(const Result<std::shared_ptr<MemoryFile>>& left, const std::vector<Op>& ops,
             const std::string& kept) {
    ASSERT_TRUE(left.ok());
    if (!found_.insert(hash(**left)).second) return;  // another loss that leaves the same
    const std::string what = subject_.judge(other_world_, *left, ++judged_ % 8 == 0);
    if (what.empty() || ++failures_ > 5) return;
    ADD_FAILURE() << GetParam().name << ": " << spell(ops) << "; kept " << kept << "; " << what;
  }

  static std::uint64_t hash(const MemoryFile& file) {
    std::vector<std::byte> bytes(align_up(file.size(), 8));
    file.read_now(0, bytes);
    std::uint64_t hash = file.size();
    for (std::size_t at = 0; at < bytes.size(); at += 8)
      hash = (hash ^ load_be<std::uint64_t>(bytes, at)) * 0x9e3779b97f4a7c15U;
    return hash;
  }

  World world_{1};
  World other_world_{2};
  Subject prepared_{GetParam()}, subject_{GetParam()};
  std::shared_ptr<MemoryFile> prepared_file_ = std::make_shared<MemoryFile>();
  std::set<std::string> refused_;
  std::set<std::uint64_t> found_;  // hashes of what was judged at this moment
  std::uint64_t judged_ = 0, failures_ = 0;
};

TEST_P(PowerCutTest, LeavesAnImageThatIsWholeOrLeaks) {
  ASSERT_NO_FATAL_FAILURE(prepare());
  if (IsSkipped()) return;
  for_each_sequence(3, [&](const std::vector<Op>& ops) {
    if (failures_ < 5) sequence(ops);
  });
  std::string refused;
  for (const std::string& one : refused_) refused += one + "\n";
  EXPECT_EQ(refused, "");
  RecordProperty("judged", std::to_string(judged_));
  std::printf("%llu images judged\n", static_cast<unsigned long long>(judged_));
}

INSTANTIATE_TEST_SUITE_P(Shapes, PowerCutTest, ::testing::ValuesIn(testing::shapes()),
                         [](const auto& shape) { return testing::identifier(shape.param); });

}  // namespace
}  // namespace sim::qcow2
