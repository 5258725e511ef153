// Commit and rebase change two files or more.  Whatever fails on the way, and whenever the power
// goes: the chain shows what it showed, and each image is whole but for leaks.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "sim/image/commit.h"
#include "sim/image/open.h"
#include "sim/image/rebase.h"
#include "sim/qcow2/sweep_for_test.h"
#include "sim/storage/faults.h"
#include "sim/storage/filtered_files.h"
#include "sim/storage/losses_for_test.h"
#include "sim/storage/power_cut.h"

namespace sim::image {
namespace {

using qcow2::format::kSector;
using qcow2::testing::Sectors;
using storage::MemoryFile;
using storage::MemoryFiles;
using storage::PowerCut;

constexpr const char* kBase = "/d/base";
constexpr const char* kOther = "/d/other";
constexpr const char* kTop = "/d/top";
constexpr std::array kPaths = {kBase, kOther, kTop};

enum class Step : unsigned char {
  write,
  zero,
  discard,
  compressed_write,
  snapshot,
  grow,
  flush,
  // Of these at least one is in every sequence.
  commit,
  rebase,   // onto another file
  flatten,  // onto none
};
constexpr std::array kSteps = {Step::write,    Step::zero,   Step::discard, Step::compressed_write,
                               Step::snapshot, Step::grow,   Step::flush,   Step::commit,
                               Step::rebase,   Step::flatten};
constexpr std::array kNames = {"write", "zero",  "discard", "compressed write", "snapshot",
                               "grow",  "flush", "commit",  "rebase",           "flatten"};

bool is_of_chains(Step step) { return step >= Step::commit; }

std::string spell(const std::vector<Step>& steps) {
  std::string text;
  for (const Step step : steps)
    text += (text.empty() ? "" : ", ") + std::string(kNames[static_cast<std::size_t>(step)]);
  return text;
}

struct Shape {
  const char* name = "";
  qcow2::CreateOptions top = {};
  qcow2::CreateOptions base = {};  // size 0: raw
};
void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> kShapes = {
      {.name = "OverRaw", .top = {.size = 32 << 10, .cluster_bits = 10}},
      {.name = "SmallClusters",
       .top = {.size = 24 << 10, .cluster_bits = 9},
       .base = {.size = 16 << 10, .cluster_bits = 9}},
      {.name = "SmallerClustersBelow",
       .top = {.size = 48 << 10, .cluster_bits = 12},
       .base = {.size = 32 << 10, .cluster_bits = 9}},
      {.name = "LazyRefcounts",
       .top = {.size = 24 << 10, .cluster_bits = 9, .lazy_refcounts = true},
       .base = {.size = 16 << 10, .cluster_bits = 9, .lazy_refcounts = true}},
      {.name = "ExtendedL2",
       .top = {.size = 128 << 10, .cluster_bits = 14, .extended_l2 = true},
       .base = {.size = 64 << 10, .cluster_bits = 12}},
  };
  return kShapes;
}

// The files of a chain, what it shows, and what it may show after a mishap.
class Chain {
 public:
  explicit Chain(const Shape& shape)
      : shape_(shape), cluster_(1U << shape.top.cluster_bits), disk_(shape.top.size) {}

  const Sectors& disk() const { return disk_; }

  // Base and other differ; the base holds 2/3 of the disk.
  Task<Result<>> prepare(World& world, MemoryFiles& files) {
    const std::uint64_t below = shape_.base.size == 0 ? 16 << 10 : shape_.base.size;
    const char* format = shape_.base.size == 0 ? "raw" : "qcow2";
    for (const char* path : {kBase, kOther}) {
      CO_TRY(const auto file, files.create(path));
      if (shape_.base.size == 0) CO_TRY_OK(co_await file->truncate(below));
      if (shape_.base.size != 0) CO_TRY_OK(co_await qcow2::create(*file, shape_.base));
    }
    CO_TRY(const auto top, files.create(kTop));
    qcow2::CreateOptions options = shape_.top;
    options.backing_file = "base";
    options.backing_format = format;
    CO_TRY_OK(co_await qcow2::create(*top, options));
    const Context context = context_of(world, files);
    for (const char* path : {kBase, kOther}) {
      CO_TRY(const auto layer,
             co_await open_chain(context, {.filename = path, .format = format, .writable = true}));
      const std::vector<std::byte> data(below / 2, std::byte(path == kBase ? 9 : 8));
      CO_TRY_OK(co_await layer->write(path == kBase ? 0 : below / 4, data));
      CO_TRY_OK(co_await layer->close());
    }
    disk_.set(0, below / 2, 9);
    CO_TRY_OK(co_await open(context));
    CO_TRY_OK(co_await store(cluster_, 2 * cluster_, 0xa0));
    co_return co_await close();
  }

  static Context context_of(World& world, storage::FileSystem& files) {
    return {world, files, "/d", {}, {}};
  }

  Task<Result<>> open(const Context& context) {
    CO_TRY(layer_, co_await open_chain(context, request()));
    co_return ok();
  }
  Task<Result<>> close() {
    if (!layer_) co_return ok();
    auto closed = co_await layer_->close();
    layer_.reset();
    if (closed) flushed();
    co_return closed;
  }
  void drop() { layer_.reset(); }

  // Does the n-th step of a sequence.  Commit and rebase are processes of their own: they open the
  // chain themselves.
  Task<Result<>> perform(const Context& context, Step step, std::uint8_t n) {
    auto done = co_await begin(context, step, n);
    if (!done) unsure_ = true;
    co_return done;
  }

  // What is wrong with the files that were left behind, in words.  They are changed.
  std::string judge(World& world, MemoryFiles& files) const {
    for (const char* path : kPaths) {
      if (path != kTop && shape_.base.size == 0) continue;
      const std::string what = judge_file(world, files, path);
      if (!what.empty()) return std::string(path) + ": " + what;
    }
    const Context context = context_of(world, files);
    auto opened = run(world, open_chain(context, {.filename = kTop, .format = "qcow2"}));
    if (!opened) return "open: " + opened.error().desc;
    std::vector<std::byte> bytes((*opened)->size());
    if (const auto read = run(world, (*opened)->read(0, bytes)); !read)
      return "read: " + read.error().desc;
    return disk_.judge(bytes);
  }

 private:
  OpenRequest request() const { return {.filename = kTop, .format = "qcow2", .writable = true}; }

  // Marked dirty: it is repaired first, as by whoever opens it for writing.
  static std::string judge_file(World& world, MemoryFiles& files, const std::string& path) {
    const auto file = files.find(path);
    std::array<std::byte, 80> start{};
    file->read_now(0, start);
    if ((load_be<std::uint64_t>(start, qcow2::format::at::incompatible_features) &
         qcow2::format::kIncompatibleDirty) != 0) {
      const auto repaired = run(world, qcow2::check(file, {.repair = qcow2::Repair::all}));
      if (!repaired) return "repair: " + repaired.error().desc;
    }
    std::string findings;
    const auto checked = run(world, qcow2::check(file, {.finding = [&](std::string_view text) {
                                                   findings += "\n    " + std::string(text);
                                                 }}));
    if (!checked) return "check: " + checked.error().desc;
    return checked->corruptions + checked->check_errors == 0 ? "" : "check:" + findings;
  }

  Task<Result<>> begin(const Context& context, Step step, std::uint8_t n) {
    const auto value = static_cast<std::uint8_t>(0x10 + n);
    if (is_of_chains(step)) {
      CO_TRY_OK(co_await close());
      CO_TRY_OK(co_await change_chain(context, step));
      flushed();  // the process has ended well
      co_return co_await open(context);
    }
    switch (step) {
      case Step::write:
        co_return co_await store(cluster_ / 2 / kSector * kSector + n * cluster_, 2 * cluster_,
                                 value);
      case Step::zero:
        disk_.set(n * cluster_, 2 * cluster_, 0);
        co_return co_await layer_->write_zeroes(n * cluster_, 2 * cluster_, n % 2 == 0);
      case Step::discard:
        disk_.set(n * cluster_, 2 * cluster_, 0);
        co_return co_await layer_->discard(n * cluster_, 2 * cluster_);
      case Step::compressed_write: {
        const std::vector<std::byte> data(cluster_, std::byte{value});
        disk_.set((4 + n) * cluster_, cluster_, value);
        co_return co_await layer_->write_compressed((4 + n) * cluster_, data);
      }
      case Step::snapshot:
        co_return co_await layer_->qcow2()->create_snapshot({.name = std::to_string(n)});
      case Step::grow:
        disk_.resize(disk_.size() + 2 * cluster_);
        co_return co_await layer_->resize(disk_.size(), qcow2::Preallocation::off);
      default:
        CO_TRY_OK(co_await layer_->flush());
        flushed();
        co_return ok();
    }
  }

  Task<Result<>> change_chain(const Context& context, Step step) const {
    if (step == Step::commit) co_return co_await commit(context, {.image = request()});
    const bool onto = step == Step::rebase;
    co_return co_await rebase(
        context, {.image = request(),
                  .backing = onto ? "other" : "",
                  .backing_format = !onto ? "" : (shape_.base.size == 0 ? "raw" : "qcow2")});
  }

  Task<Result<>> store(std::uint64_t at, std::uint64_t length, std::uint8_t value) {
    disk_.set(at, length, value);
    const std::vector<std::byte> data(length, std::byte{value});
    co_return co_await layer_->write(at, data);
  }
  void flushed() {
    if (!unsure_) disk_.flushed();
  }

  Shape shape_;
  std::uint64_t cluster_;
  Sectors disk_;
  std::shared_ptr<Layer> layer_;  // null: not open.  Copies are of the model.
  bool unsure_ = false;           // a step has failed
};

class ChainSweep : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto made = run(world_, prepared_.prepare(world_, files_));
    ASSERT_TRUE(made.ok()) << made.error().desc;
  }

  // All sequences of one to `length` steps that change the chain somewhere.
  static void for_each_sequence(std::size_t length,
                                const std::function<void(const std::vector<Step>&)>& visit) {
    std::vector<Step> steps;
    const std::function<void()> extend = [&] {
      if (std::ranges::any_of(steps, is_of_chains)) visit(steps);
      if (steps.size() == length) return;
      for (const Step step : kSteps) {
        steps.push_back(step);
        extend();
        steps.pop_back();
      }
    };
    extend();
  }

  void copy_to(MemoryFiles& files) {
    for (const char* path : kPaths) {
      auto file = files.create(path);
      ASSERT_TRUE(run(world_, storage::copy_file(*files_.find(path), **file)).ok());
    }
  }

  void judged(const Chain& chain, MemoryFiles& left, const std::string& what_was_done) {
    ++judged_;
    const std::string what = chain.judge(other_world_, left);
    if (what.empty() || ++failures_ > 5) return;
    ADD_FAILURE() << GetParam().name << ": " << what_was_done << "; " << what;
  }

  World world_{1};
  World other_world_{2};
  MemoryFiles files_;
  Chain prepared_{GetParam()};
  std::uint64_t judged_ = 0, failures_ = 0;
};

// The power goes in all files at once.
class PowerOfAll {
 public:
  std::shared_ptr<storage::Storage> filter(const std::string& path, const MemoryFiles& files) {
    auto& cut = cuts_[path];
    if (!cut) {
      cut = std::make_shared<PowerCut>(files.find(path));
      cut->before_flush([this, path] {
        if (cuts_.at(path)->unflushed() > 0) before_flush();
      });
    }
    return cut;
  }
  std::size_t unflushed() const {
    std::size_t count = 0;
    for (const auto& [path, cut] : cuts_) count += cut->unflushed();
    return count;
  }
  // Puts into `left` what is left of each file.
  void cut(World& world, const MemoryFiles& files, const std::vector<bool>& kept,
           MemoryFiles& left) const {
    std::size_t first = 0;
    for (const auto& [path, cut] : cuts_) {
      const auto file = run(world, cut->after_cut([&](std::size_t i) { return kept[first + i]; }));
      first += cut->unflushed();
      put(world, **file, left, path);
    }
    for (const char* path : kPaths)
      if (!cuts_.contains(path)) put(world, *files.find(path), left, path);
  }

  std::function<void()> before_flush = [] {};

 private:
  static void put(World& world, MemoryFile& file, MemoryFiles& left, const std::string& path) {
    auto to = left.create(path);
    (void)run(world, storage::copy_file(file, **to));
  }

  std::map<std::string, std::shared_ptr<PowerCut>> cuts_;
};

// After `flatten` there is nothing to commit to, and what a rebase copied cannot be compressed.
bool is_refused_rightly(const std::vector<Step>& steps, std::size_t at) {
  const auto before = [&](Step first) {
    return std::any_of(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(at - 1),
                       [=](Step step) { return step >= first; });
  };
  const Step last = steps[at - 1];
  return (last == Step::commit && before(Step::flatten)) ||
         (last == Step::compressed_write && before(Step::rebase));
}

TEST_P(ChainSweep, APowerCutAtAnyMomentLosesNothing) {
  std::string refused;
  for_each_sequence(3, [&](const std::vector<Step>& steps) {
    if (failures_ >= 5) return;
    MemoryFiles files;
    copy_to(files);
    PowerOfAll power;
    storage::FilteredFiles filtered(files, [&](const std::string& path, const auto& /*file*/) {
      return power.filter(path, files);
    });
    const Context context = Chain::context_of(world_, filtered);
    Chain chain = prepared_;
    std::uint8_t n = 0;
    const auto cut_here = [&] {
      for (const std::vector<bool>& kept : storage::testing::losses(power.unflushed())) {
        MemoryFiles left;
        power.cut(other_world_, files, kept, left);
        judged(chain, left, spell(steps) + "; kept " + storage::testing::spell(kept));
      }
    };
    // Cuts before the last step were tried with the shorter sequence.
    power.before_flush = [&] {
      if (n == steps.size()) cut_here();
    };
    auto done = run(world_, chain.open(context));
    for (const Step step : steps)
      if (done) done = run(world_, chain.perform(context, step, ++n));
    if (!done) {
      if (!is_refused_rightly(steps, n)) refused += spell(steps) + ": " + done.error().desc + "\n";
      return chain.drop();
    }
    cut_here();
    const auto closed = run(world_, chain.close());
    EXPECT_TRUE(closed.ok()) << closed.error().desc;
    cut_here();
  });
  EXPECT_EQ(refused, "");
  std::printf("%llu chains judged\n", static_cast<unsigned long long>(judged_));
}

TEST_P(ChainSweep, AnyRequestMayFail) {
  using storage::Operation;
  constexpr std::array kOperations = {Operation::read, Operation::write, Operation::discard,
                                      Operation::flush, Operation::resize};
  const std::vector<std::vector<Step>> sequences = {
      {Step::commit},
      {Step::rebase},
      {Step::flatten},
      {Step::snapshot, Step::write, Step::commit},
      {Step::discard, Step::compressed_write, Step::commit},
      {Step::grow, Step::write, Step::commit, Step::write},
      {Step::zero, Step::grow, Step::rebase, Step::commit},
  };
  for (const std::vector<Step>& steps : sequences)
    for (const Operation operation : kOperations)
      for (std::uint64_t nth = 1;; ++nth) {
        MemoryFiles files;
        copy_to(files);
        const auto plan = std::make_shared<storage::FaultPlan>();
        plan->add({.operation = operation, .nth = nth});
        storage::FilteredFiles faulty(files, [&](const std::string&, auto file) {
          return std::make_shared<storage::Faults>(std::move(file), plan);
        });
        const Context context = Chain::context_of(world_, faulty);
        Chain chain = prepared_;
        auto done = run(world_, chain.open(context));
        std::uint8_t n = 0;
        for (const Step step : steps)
          if (done) done = run(world_, chain.perform(context, step, ++n));
        if (done) done = run(world_, chain.close());
        chain.drop();
        judged(chain, files,
               fmt::format("{}; operation {}, number {}", spell(steps), static_cast<int>(operation),
                           nth));
        if (plan->met() == 0 || failures_ >= 5) break;
      }
  std::printf("%llu chains judged\n", static_cast<unsigned long long>(judged_));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ChainSweep, ::testing::ValuesIn(shapes()),
                         [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace sim::image
