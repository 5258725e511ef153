// The same seed gives the same run: the same trace and the same bytes, as ARCHITECTURE.md promises.

#include <gtest/gtest.h>

#include <set>

#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

Executed run(const Scenario& scenario, std::uint64_t seed, bool explore) {
  SimTarget target = testing::simulator();
  ExecutionOptions options;
  options.session = {.seed = seed, .explore = explore};
  options.hash_bytes = true;
  return execute(scenario, target, options);
}

void expect_same(const Executed& left, const Executed& right) {
  EXPECT_EQ(left.trace_hash, right.trace_hash);
  EXPECT_EQ(left.bytes_hash, right.bytes_hash);
  ASSERT_EQ(left.transcript.size(), right.transcript.size());
  for (std::size_t i = 0; i < left.transcript.size(); ++i)
    EXPECT_EQ(to_line(left.transcript[i]), to_line(right.transcript[i]));
}

TEST(ScenarioDeterminism, TheSameSeedGivesTheSameTraceAndTheSameBytes) {
  const std::vector<Scenario>& all = testing::matrix();
  ASSERT_GT(all.size(), 1000U);
  std::set<std::uint64_t> traces, bytes;
  for (std::size_t i = 0; i < all.size(); i += 10) {
    SCOPED_TRACE(all[i].id);
    const Executed first = run(all[i], 1, false);
    EXPECT_TRUE(first.broken.empty() && first.divergences.empty());
    expect_same(first, run(all[i], 1, false));
    traces.insert(first.trace_hash);
    bytes.insert(first.bytes_hash);
    // Another order of what is due at the same time may leave another trace, never another verdict.
    for (const std::uint64_t seed : {2U, 3U}) {
      const Executed other = run(all[i], seed, true);
      EXPECT_TRUE(other.broken.empty()) << other.broken;
      for (const Divergence& divergence : other.divergences)
        ADD_FAILURE() << divergence.requirement << ": " << divergence.expected << " / "
                      << divergence.actual << " at " << divergence.place;
      expect_same(other, run(all[i], seed, true));
    }
  }
  EXPECT_GT(traces.size(), 50U) << "different scenarios leave different traces";
  EXPECT_GT(bytes.size(), 50U);
}

// Two copies at a time: here an order can be drawn.
TEST(ScenarioDeterminism, ExploringDrawsAnotherOrderFromTheSeed) {
  const auto scenarios = testing::parse(R"({"title": "t", "because": "b",
      "images": {
        "a": {"format": "qcow2", "size": "4M", "writes": [{"write": 1, "at": 0, "length": "4M"}]},
        "b": {"format": "qcow2", "size": "4M", "writes": [{"write": 2, "at": 0, "length": "4M"}]}},
      "disks": [{"target": "vda", "source": "a"}, {"target": "vdb", "source": "b"}],
      "steps": [
        {"call": "blockRebase", "disk": "vda", "base": "${dir}/copy-a", "flags": ["copy"]},
        {"call": "blockRebase", "disk": "vdb", "base": "${dir}/copy-b", "flags": ["copy"]},
        {"wait": "ready", "disk": "vda"}, {"wait": "ready", "disk": "vdb"},
        {"guest": "write", "disk": "vda", "at": "1M", "length": "1M", "pattern": 9},
        {"guest": "write", "disk": "vdb", "at": "1M", "length": "1M", "pattern": 9},
        {"call": "blockJobAbort", "disk": "vda", "flags": ["pivot", "async"]},
        {"call": "blockJobAbort", "disk": "vdb", "flags": ["pivot", "async"]},
        {"wait": "completed", "disk": "vdb"}]})");
  ASSERT_EQ(scenarios.size(), 1U);
  std::set<std::uint64_t> orders, fixed;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Executed explored = run(scenarios[0], seed, true);
    EXPECT_TRUE(explored.broken.empty()) << explored.broken;
    for (const Divergence& divergence : explored.divergences)
      if (divergence.divergence_class != DivergenceClass::events)  // whose end is seen first varies
        ADD_FAILURE() << divergence.requirement << ": " << divergence.actual;
    expect_same(explored, run(scenarios[0], seed, true));
    orders.insert(explored.trace_hash);
    fixed.insert(run(scenarios[0], seed, false).trace_hash);
  }
  EXPECT_GT(orders.size(), 1U);
  EXPECT_EQ(fixed.size(), 1U) << "otherwise the seed draws nothing";
}

}  // namespace
}  // namespace conformance
