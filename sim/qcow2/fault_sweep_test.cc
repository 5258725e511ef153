// Every n-th request to the file fails, for every n that there is, in every operation: the
// operation says so, what was flushed before is there, the image opens, a check finds at worst
// leaks.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/qcow2/sweep_for_test.h"
#include "sim/storage/faults.h"
#include "sim/storage/power_cut.h"

namespace sim::qcow2 {
namespace {

using storage::Fault;
using storage::MemoryFile;
using storage::Operation;
using testing::Op;
using testing::Shape;
using testing::Subject;

// What is done to an image, from opening to closing it.
struct Action {
  std::string name;
  std::function<Task<Result<>>(World&, Subject&, std::shared_ptr<storage::Storage>)> perform;
};

Task<Result<>> use(World& world, Subject& subject, std::shared_ptr<storage::Storage> file,
                   std::vector<Op> ops) {
  CO_TRY_OK(co_await subject.open(world, std::move(file)));
  std::uint8_t step = 0;
  for (const Op op : ops) CO_TRY_OK(co_await subject.perform(op, ++step));
  co_return co_await subject.close();
}

// The same by who does not give up: what failed is done again.
Task<Result<>> insist(World& world, Subject& subject, std::shared_ptr<storage::Storage> file,
                      std::vector<Op> ops) {
  Result<> first = ok();
  const auto note = [&first](Result<> done) {
    if (!done && first) first = std::move(done);
  };
  auto opened = co_await subject.open(world, file);
  if (!opened) {
    note(opened);
    CO_TRY_OK(co_await subject.open(world, file));
  }
  std::uint8_t step = 0;
  for (const Op op : ops) {
    ++step;
    auto done = co_await subject.perform(op, step);
    if (done) continue;
    note(done);
    if (done.error().number != ENOTSUP) note(co_await subject.perform(op, step));
  }
  note(co_await subject.perform(Op::flush, 0));
  auto closed = co_await subject.close();
  note(closed);
  if (!closed) subject.drop();
  co_return first;
}

std::vector<Action> actions() {
  const std::vector<std::vector<Op>> sequences = {
      {},
      {Op::write},
      {Op::allocating_write},
      {Op::zero, Op::zero},
      {Op::discard},
      {Op::discard, Op::allocating_write},
      {Op::compressed_write, Op::compressed_write},
      {Op::snapshot},
      {Op::snapshot, Op::write, Op::delete_snapshot},
      {Op::apply_snapshot, Op::allocating_write},
      {Op::delete_snapshot},
      {Op::grow, Op::allocating_write},
      {Op::shrink},
      {Op::write, Op::flush, Op::discard, Op::flush, Op::allocating_write},
  };
  std::vector<Action> actions;
  for (const auto& ops : sequences) {
    const std::string name = ops.empty() ? "nothing" : spell(ops);
    actions.push_back({name, [ops](World& world, Subject& subject, auto file) {
                         return use(world, subject, std::move(file), ops);
                       }});
    actions.push_back(
        {name + ", again and again", [ops](World& world, Subject& subject, auto file) {
           return insist(world, subject, std::move(file), ops);
         }});
  }
  return actions;
}

class FaultSweepTest : public ::testing::TestWithParam<Shape> {
 protected:
  void prepare() {
    const auto made = run(world_, prepared_.prepare(world_, prepared_file_));
    ASSERT_TRUE(made.ok()) << made.error().desc;
  }

  // True if the fault was met.
  bool with(const Action& action, const Fault& fault) {
    Subject subject = prepared_;
    const auto file = std::make_shared<MemoryFile>();
    EXPECT_TRUE(run(world_, storage::copy_file(*prepared_file_, *file)).ok());
    const auto plan = std::make_shared<storage::FaultPlan>();
    plan->add(fault);
    const auto cut = std::make_shared<storage::PowerCut>(file);
    const auto faulty = std::make_shared<storage::Faults>(cut, plan);
    const auto done = run(world_, action.perform(world_, subject, faulty));
    subject.drop();
    if (plan->met() == 0) return false;
    // Giving space back to the file is a favour; everything else must be reported.
    if (done && fault.operation != Operation::discard) fail(action, fault, "reported success");
    // The process goes on, or the power goes as well.
    judge(action, fault, subject, run(world_, cut->after_cut([](std::size_t) { return true; })));
    judge(action, fault, subject, run(world_, cut->after_cut([](std::size_t) { return false; })));
    Rng rng(fault.nth);
    for (int i = 0; i < 3; ++i) judge(action, fault, subject, run(world_, cut->after_cut(rng)));
    return true;
  }

  void judge(const Action& action, const Fault& fault, const Subject& subject,
             const Result<std::shared_ptr<MemoryFile>>& left) {
    ASSERT_TRUE(left.ok());
    ++judged_;
    const std::string what = subject.judge(world_, *left, judged_ % 4 == 0);
    if (!what.empty()) fail(action, fault, what);
  }

  void fail(const Action& action, const Fault& fault, const std::string& what) {
    static constexpr std::array kNames = {"read", "write", "discard", "flush", "resize"};
    if (++failures_ > 10) return;
    ADD_FAILURE() << GetParam().name << ": " << action.name << "; "
                  << kNames[static_cast<std::size_t>(fault.operation)] << " " << fault.nth
                  << (fault.lasting ? " and all after it" : "") << (fault.partial ? ", partly" : "")
                  << "; " << what;
  }

  World world_{1};
  Subject prepared_{GetParam()};
  std::shared_ptr<MemoryFile> prepared_file_ = std::make_shared<MemoryFile>();
  std::uint64_t judged_ = 0, failures_ = 0;
};

TEST_P(FaultSweepTest, EveryRequestMayFail) {
  ASSERT_NO_FATAL_FAILURE(prepare());
  if (IsSkipped()) return;
  constexpr std::array kOperations = {Operation::read, Operation::write, Operation::discard,
                                      Operation::flush, Operation::resize};
  for (const Action& action : actions())
    for (const Operation operation : kOperations)
      for (const bool lasting : {false, true})
        for (std::uint64_t nth = 1; nth < 1000 && failures_ < 10; ++nth) {
          Fault fault{.operation = operation, .nth = nth, .number = EIO, .lasting = lasting};
          if (operation == Operation::resize) fault.number = ENOSPC;
          fault.partial = operation == Operation::write && nth % 2 == 0;
          if (!with(action, fault)) break;
        }
  std::printf("%llu images judged\n", static_cast<unsigned long long>(judged_));
}

TEST_P(FaultSweepTest, CreationSaysWhatFailed) {
  for (const Operation operation :
       {Operation::read, Operation::write, Operation::flush, Operation::resize}) {
    for (std::uint64_t nth = 1;; ++nth) {
      const auto plan = std::make_shared<storage::FaultPlan>();
      plan->add({.operation = operation, .nth = nth, .number = ENOSPC});
      const auto file = std::make_shared<storage::Faults>(std::make_shared<MemoryFile>(), plan);
      const auto made = run(world_, create(*file, GetParam().create));
      if (plan->met() == 0) break;
      EXPECT_FALSE(made.ok());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, FaultSweepTest, ::testing::ValuesIn(testing::shapes()),
                         [](const auto& shape) { return testing::identifier(shape.param); });

}  // namespace
}  // namespace sim::qcow2
