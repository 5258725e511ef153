// What changes an image as a whole (amend, repair, bitmaps, preallocation, emptying, keys): every
// n-th request to the file fails, for every n.  The operation says so; after a repair without
// faults the image is clean and shows the guest's data.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "sim/qcow2/amend.h"
#include "sim/qcow2/check.h"
#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"
#include "sim/storage/faults.h"
#include "sim/storage/power_cut.h"

namespace sim::qcow2 {
namespace {

using storage::Fault;
using storage::MemoryFile;
using storage::Operation;
using Files = std::pair<std::shared_ptr<storage::Storage>, std::shared_ptr<storage::Storage>>;

constexpr const char* kPassphrase = "a";

void no_chance(MutableBytes bytes) { std::ranges::fill(bytes, std::byte{0x5a}); }

// An image, and what is done to it: to its file and, where it has one, its data file.
struct Subject {
  const char* name = "";
  CreateOptions create = {};
  std::function<Task<Result<>>(World&, Image&)> fill = {};  // on the open image
  std::function<void(MemoryFile&)> damage = {};             // to the closed file
  std::function<Task<Result<>>(World&, Files)> perform = {};
  bool keeps_content = true;
  // Can do without what could not be read: a table that is made anew, space that is not given back.
  bool may_succeed = false;
};
void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.name; }

Task<Result<std::unique_ptr<Image>>> open(World& world, Files files, bool writable) {
  CO_TRY(const Header header, co_await read_header(*files.first, writable));
  OpenOptions options{.writable = writable};
  if (header.has_data_file()) options.data_file = files.second;
  if (header.crypt_method != 0) {
    CO_TRY(options.cipher, co_await unlock(*files.first, header, kPassphrase));
  }
  co_return co_await Image::open(world, files.first, std::move(options));
}

// Does something to the open image and closes it.
using Session = std::function<Task<Result<>>(World&, Image&)>;
std::function<Task<Result<>>(World&, Files)> session(Session session) {
  return [session = std::move(session)](World& world, Files files) -> Task<Result<>> {
    CO_TRY(const auto image, co_await open(world, std::move(files), true));
    CO_TRY_OK(co_await session(world, *image));
    co_return co_await image->close();
  };
}
std::function<Task<Result<>>(World&, Files)> repair(Repair how) {
  return [how](World&, Files files) -> Task<Result<>> {
    CO_TRY(const CheckResult result, co_await check(files.first, {.repair = how}));
    if (result.check_errors > 0) co_return os_error(EIO);
    co_return ok();
  };
}
std::function<Task<Result<>>(World&, Files)> amend_to(AmendOptions options) {
  return session([options = std::move(options)](World&, Image& image) -> Task<Result<>> {
    co_return co_await amend(image, options);
  });
}

Task<Result<>> store(Image& image, std::uint64_t at, std::uint64_t length, int value) {
  const std::vector<std::byte> data(length, std::byte(value));
  co_return co_await image.write({at}, data);
}

// Data, compressed data, zeroes of both kinds; with more than one table of each kind.
Task<Result<>> fill_all(World&, Image& image) {
  const std::uint64_t cluster = image.cluster_size();
  CO_TRY_OK(co_await store(image, 0, 6 * cluster, 0xa0));
  CO_TRY_OK(co_await store(image, image.size() - 3 * cluster, 2 * cluster, 0xb0));
  CO_TRY_OK(co_await image.write_zeroes({2 * cluster}, cluster, false));
  CO_TRY_OK(co_await image.write_zeroes({8 * cluster}, cluster, true));
  const std::vector<std::byte> data(cluster, std::byte{0xc0});
  if (!image.header().has_data_file())
    CO_TRY_OK(co_await image.write_compressed({10 * cluster}, data));
  co_return ok();
}
Task<Result<>> fill_with_snapshot(World& world, Image& image) {
  CO_TRY_OK(co_await fill_all(world, image));
  const std::vector<std::byte> state(700, std::byte{7});
  CO_TRY_OK(co_await image.write_vm_state(0, state));
  CO_TRY_OK(co_await image.create_snapshot({.name = "s", .vm_state_bytes = state.size()}));
  co_return co_await store(image, image.cluster_size(), image.cluster_size(), 0xd0);
}
// Zeroes in a table that a snapshot shares.
Task<Result<>> fill_with_shared_zeroes(World& world, Image& image) {
  CO_TRY_OK(co_await fill_with_snapshot(world, image));
  CO_TRY_OK(co_await image.write_zeroes({0}, 2048, true));
  co_return co_await image.create_snapshot({.name = "t"});
}
Task<Result<>> fill_with_bitmaps(World& world, Image& image) {
  CO_TRY_OK(co_await image.add_bitmap("a", 9, true));
  CO_TRY_OK(co_await image.add_bitmap("b", 12, false));
  co_return co_await fill_all(world, image);
}

std::uint64_t field(const MemoryFile& file, std::uint64_t at) {
  std::array<std::byte, 8> bytes{};
  file.read_now(at, bytes);
  return load_be<std::uint64_t>(bytes, 0);
}
void set_field(MemoryFile& file, std::uint64_t at, std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  store_be(MutableBytes(bytes), 0, value);
  file.write_now(at, bytes);
}
std::uint64_t refcount_table(const MemoryFile& file) {
  return field(file, format::at::refcount_table_offset);
}
std::uint64_t l2_table(const MemoryFile& file) {
  return field(file, field(file, format::at::l1_table_offset)) & format::kOffsetMask;
}
// Every count is lost.
void lose_counts(MemoryFile& file) { file.write_zeroes_now(refcount_table(file), 512); }
// Counts of what is there, too low and too high.
void spoil_counts(MemoryFile& file) {
  const std::uint64_t block = field(file, refcount_table(file)) & format::kBlockOffsetMask;
  set_field(file, block + 8, 0x0003'0000'0002'0001);
}
void clear_copied(MemoryFile& file) {
  set_field(file, l2_table(file), field(file, l2_table(file)) & ~format::kCopied);
}
void misplace_entry(MemoryFile& file, std::uint64_t at) {
  set_field(file, at, field(file, at) + 512);
}
void misplace_block(MemoryFile& file) {
  set_field(file, refcount_table(file), field(file, refcount_table(file)) + 512 * 1000);
}

constexpr std::uint64_t kDisk = 64 << 10;

std::vector<Subject> amended() {
  return {
      {"AmendToWiderCounts",
       {.size = kDisk, .cluster_bits = 9},
       fill_with_snapshot,
       {},
       amend_to({.refcount_order = 6})},
      {"AmendToNarrowerCounts",
       {.size = kDisk, .cluster_bits = 9},
       fill_all,
       {},
       amend_to({.refcount_order = 0})},
      {"AmendToVersion2",
       {.size = kDisk, .cluster_bits = 9},
       fill_all,
       {},
       amend_to({.version = 2})},
      {"AmendSnapshotsToVersion2",
       {.size = kDisk, .cluster_bits = 9},
       fill_with_shared_zeroes,
       {},
       amend_to({.version = 2})},
      {"AmendZeroesOverBackingToVersion2",
       {.size = kDisk, .cluster_bits = 9, .backing_file = "b", .backing_format = "raw"},
       fill_with_shared_zeroes,
       {},
       amend_to({.version = 2})},
      {"AmendToVersion3",
       {.size = kDisk, .cluster_bits = 9, .version = 2},
       [](World&, Image& image) { return store(image, 0, 3000, 0xa0); },
       {},
       amend_to({.version = 3, .lazy_refcounts = true})},
      {"AmendLazyAndSize",
       {.size = kDisk, .cluster_bits = 9},
       fill_all,
       {},
       amend_to({.size = 4 * kDisk, .lazy_refcounts = true})},
      {"AmendNotLazy",
       {.size = kDisk, .cluster_bits = 9, .lazy_refcounts = true},
       fill_all,
       {},
       amend_to({.lazy_refcounts = false})},
  };
}

std::vector<Subject> repaired_counts() {
  const CreateOptions plain{.size = kDisk, .cluster_bits = 9};
  return {
      {"RebuildAllCounts", plain, fill_with_snapshot, lose_counts, repair(Repair::all)},
      {"RepairCounts", plain, fill_with_snapshot, spoil_counts, repair(Repair::all)},
      {"RepairSmallestCounts",
       {.size = kDisk, .cluster_bits = 9, .refcount_order = 0},
       fill_all,
       lose_counts,
       repair(Repair::all)},
      {"RepairLargestCounts",
       {.size = kDisk, .cluster_bits = 9, .refcount_order = 6},
       fill_with_snapshot,
       spoil_counts,
       repair(Repair::all)},
      {"RebuildLargestCounts",
       {.size = kDisk, .cluster_bits = 9, .refcount_order = 6},
       fill_with_bitmaps,
       lose_counts,
       repair(Repair::all)},
      {"RepairReferenceBeyondAllCounts", plain, fill_all,
       [](MemoryFile& file) {
         constexpr std::uint64_t kFar = 9 << 20;  // a table of one cluster counts 8 MiB
         file.truncate_now(kFar + 4096);
         set_field(file, l2_table(file), kFar | format::kCopied);
       },
       repair(Repair::all), false},
      {"RepairBitmapTable", plain,
       [](World& world, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await image.add_bitmap("a", 9, true));
         co_return co_await fill_all(world, image);
       },
       [](MemoryFile& file) {
         // Extensions are a type of 4 bytes, a length, and the data: of bitmaps the directory's
         // offset at 16, whose first field is where the table lies.
         std::uint64_t at = 112;
         while (field(file, at) >> 32 != format::extension::bitmaps)
           at += format::kExtensionHead + align_up(field(file, at) & UINT32_MAX, 8);
         misplace_entry(file, field(file, field(file, at + format::kExtensionHead + 16)));
       },
       repair(Repair::all)},
      {"RepairBlockBehindTheEnd", plain, fill_all,
       [](MemoryFile& file) {
         set_field(file, refcount_table(file) + 8, align_up(file.size(), 512) + 512);
       },
       repair(Repair::all)},
      {"RepairLeaks", plain, fill_all,
       [](MemoryFile& file) {
         const std::uint64_t block = field(file, refcount_table(file)) & format::kBlockOffsetMask;
         file.truncate_now(file.size() + 512);
         set_field(file, block + 2 * (file.size() / 512 - 1) / 8 * 8, 0x0001'0001'0001'0001);
       },
       repair(Repair::leaks)},
      {"RepairCopiedFlags", plain, fill_with_snapshot, clear_copied, repair(Repair::all)},
      {"RepairMisplacedBlock", plain, fill_all, misplace_block, repair(Repair::all)},
  };
}

std::vector<Subject> repaired_entries() {
  const CreateOptions plain{.size = kDisk, .cluster_bits = 9};
  return {
      {"RepairUnalignedZeroes",
       {.size = kDisk, .cluster_bits = 12},
       fill_all,
       [](MemoryFile& file) { misplace_entry(file, l2_table(file) + 2 * format::kEntryBytes); },
       repair(Repair::all)},
      {"RepairUnalignedZeroSubclusters",
       {.size = 4 * kDisk, .cluster_bits = 14, .extended_l2 = true},
       [](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await store(image, 0, 40000, 0xa0));
         co_return co_await image.write_zeroes({image.cluster_size()}, image.cluster_size(), false);
       },
       [](MemoryFile& file) { misplace_entry(file, l2_table(file) + 2 * format::kEntryBytes); },
       repair(Repair::all)},
      {"RepairWithBitmaps", plain, fill_with_bitmaps, lose_counts, repair(Repair::all)},
      {"RepairWhileOpening",
       {.size = kDisk, .cluster_bits = 9, .lazy_refcounts = true},
       fill_all,
       [](MemoryFile& file) {
         lose_counts(file);
         set_field(file, format::at::incompatible_features, format::kIncompatibleDirty);
       },
       session([](World&, Image& image) { return store(image, 0, 512, 0xa0); })},
  };
}

std::vector<Subject> repaired() {
  std::vector<Subject> all = repaired_counts();
  for (const Subject& subject : repaired_entries()) all.push_back(subject);
  for (Subject& subject : all) subject.may_succeed = true;
  return all;
}

std::vector<Subject> changed() {
  const CreateOptions plain{.size = kDisk, .cluster_bits = 9};
  return {
      {"Bitmaps",
       plain,
       fill_with_bitmaps,
       {},
       session([](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await image.add_bitmap("c", 10, true));
         CO_TRY_OK(co_await image.set_in_bitmap("c", 0, 5000));
         CO_TRY_OK(co_await image.merge_bitmap("c", image, "a"));
         CO_TRY_OK(co_await image.enable_bitmap("a", false));
         CO_TRY_OK(co_await image.clear_bitmap("b"));
         CO_TRY_OK(co_await image.remove_bitmap("b"));
         co_return co_await store(image, 0, 512, 0xa0);
       }),
       true,
       true},
      {"BitmapsWhileGrowing",
       plain,
       fill_with_bitmaps,
       {},
       session([](World&, Image& image) { return image.resize(2 * kDisk, Preallocation::off); }),
       true,
       true},
      {"GrowPreallocated", plain, fill_with_snapshot, {}, session([](World&, Image& image) {
         return image.resize(3 * kDisk, Preallocation::full);
       })},
      {"GrowWithMetadata", plain, fill_all, {}, session([](World&, Image& image) {
         return image.resize(3 * kDisk, Preallocation::metadata);
       })},
  };
}

std::vector<Subject> changed_otherwise() {
  const CreateOptions plain{.size = kDisk, .cluster_bits = 9};
  return {
      {"Empty",
       plain,
       fill_all,
       {},
       session([](World&, Image& image) { return image.make_empty(); }),
       false},
      {"EmptyWithSnapshot",
       plain,
       fill_with_snapshot,
       {},
       session([](World&, Image& image) { return image.make_empty(); }),
       false},
      {"VmState",
       plain,
       fill_with_snapshot,
       {},
       session([](World&, Image& image) -> Task<Result<>> {
         std::vector<std::byte> state(700);
         CO_TRY_OK(co_await image.read_vm_state(0, state));
         CO_TRY_OK(co_await image.write_vm_state(0, state));
         CO_TRY_OK(co_await image.create_snapshot({.name = "t", .vm_state_bytes = 700}));
         co_return co_await image.delete_snapshot("s");
       })},
      {"BackingName", plain, fill_all, {}, session([](World&, Image& image) {
         return image.change_backing_name("", "");
       })},
      {"DataFile",
       {.size = kDisk, .cluster_bits = 9, .data_file = "d", .data_file_raw = true},
       fill_all,
       {},
       session([](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await store(image, 0, 1024, 0xa0));
         co_return co_await image.resize(2 * kDisk, Preallocation::off);
       })},
      {"Subclusters",
       {.size = 4 * kDisk, .cluster_bits = 14, .extended_l2 = true},
       fill_all,
       {},
       session([](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await store(image, 0, 700, 0xa0));
         co_return co_await image.resize(5 * kDisk, Preallocation::metadata);
       })},
  };
}

std::vector<Subject> encrypted() {
  EncryptOptions luks{.format = EncryptOptions::Format::luks,
                      .passphrase = kPassphrase,
                      .iterations = 1000,
                      .random = no_chance};
  const CreateOptions create{.size = kDisk, .cluster_bits = 12, .encrypt = luks};
  const auto fill = [](World&, Image& image) { return store(image, 1000, 9000, 0xa0); };
  AmendOptions add{.key = AmendOptions::Key{.new_secret = "b", .iterations = 1000},
                   .unlock_secret = kPassphrase,
                   .random = no_chance};
  return {
      {"EncryptedWrites", create, fill, {}, session([](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await store(image, 1000, 300, 0xa0));
         co_return co_await image.write_zeroes({20000}, 5000, false);
       })},
      {"EncryptedZeroes",
       create,
       fill,
       {},
       session([](World&, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await image.write_zeroes({100}, 700, false));
         CO_TRY_OK(co_await image.write_zeroes({30000}, 9000, true));
         co_return co_await image.discard({4096}, 8192);
       }),
       false},
      {"AddKey", create, fill, {}, amend_to(add)},
      {"EraseKey",
       create,
       [=](World& world, Image& image) -> Task<Result<>> {
         CO_TRY_OK(co_await fill(world, image));
         co_return co_await amend(image, add);
       },
       {},
       amend_to({.key = AmendOptions::Key{.activate = false, .old_secret = "b"},
                 .unlock_secret = kPassphrase,
                 .random = no_chance})},
  };
}

std::vector<Subject> subjects() {
  std::vector<Subject> all = amended();
  for (const auto& more : {repaired(), changed(), changed_otherwise(), encrypted()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

class FaultOperationsTest : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    const Subject& subject = GetParam();
    const auto made = run(world_, make(subject));
    ASSERT_TRUE(made.ok()) << made.error().desc;
    before_ = content(prepared_, "before");
    if (subject.damage) subject.damage(*prepared_.first);
  }

  using MemoryPair = std::pair<std::shared_ptr<MemoryFile>, std::shared_ptr<MemoryFile>>;

  Task<Result<>> make(const Subject& subject) {
    std::shared_ptr<storage::Storage> data;
    if (!subject.create.data_file.empty()) data = prepared_.second;
    CO_TRY_OK(co_await create(prepared_.first, subject.create, data));
    CO_TRY(const auto image, co_await open(world_, prepared_, true));
    CO_TRY_OK(co_await subject.fill(world_, *image));
    co_return co_await image->close();
  }

  std::vector<std::byte> content(const MemoryPair& files, const std::string& when) {
    auto image = run(world_, open(world_, files, false));
    EXPECT_TRUE(image.ok()) << when << ": " << image.error().desc;
    if (!image) return {};
    std::vector<std::byte> bytes((*image)->size());
    const auto read = run(world_, (*image)->read({0}, bytes));
    EXPECT_TRUE(read.ok()) << when << ": " << read.error().desc;
    return bytes;
  }

  // True if the fault was met.
  bool with(const Fault& fault, const std::string& spelt) {
    SCOPED_TRACE(spelt);
    const MemoryPair files{copy(*prepared_.first), copy(*prepared_.second)};
    const auto plan = std::make_shared<storage::FaultPlan>();
    plan->add(fault);
    const auto cut = std::make_shared<storage::PowerCut>(files.first);
    const auto done =
        run(world_,
            GetParam().perform(world_, {std::make_shared<storage::Faults>(cut, plan),
                                        std::make_shared<storage::Faults>(files.second, plan)}));
    if (plan->met() == 0) {
      EXPECT_TRUE(done.ok()) << done.error().desc;
      return false;
    }
    const bool may_succeed = fault.operation == Operation::discard || GetParam().may_succeed;
    EXPECT_TRUE(!done || may_succeed) << "reported success";
    for (const bool kept : {true, false}) {
      const auto left = run(world_, cut->after_cut([=](std::size_t) { return kept; }));
      judge({*left, files.second}, kept ? "all kept" : "unflushed lost");
    }
    return true;
  }

  void judge(const MemoryPair& left, const std::string& which) {
    SCOPED_TRACE(which);
    ++judged_;
    const auto repaired = run(world_, check(left.first, {.repair = Repair::all}));
    ASSERT_TRUE(repaired.ok()) << "repair: " << repaired.error().desc;
    std::string findings;
    const auto checked = run(world_, check(left.first, {.finding = [&](std::string_view text) {
                                             findings += "\n    " + std::string(text);
                                           }}));
    ASSERT_TRUE(checked.ok()) << checked.error().desc;
    EXPECT_EQ(checked->corruptions + checked->check_errors, 0U) << findings;
    const std::vector<std::byte> after = content(left, "after");
    if (!GetParam().keeps_content) return;
    const std::size_t both = std::min(after.size(), before_.size());
    EXPECT_TRUE(std::ranges::equal(Bytes(after).first(both), Bytes(before_).first(both)))
        << "the guest's data has changed";
  }

  std::shared_ptr<MemoryFile> copy(MemoryFile& file) {
    auto made = std::make_shared<MemoryFile>();
    EXPECT_TRUE(run(world_, storage::copy_file(file, *made)).ok());
    return made;
  }

  World world_{1};
  MemoryPair prepared_{std::make_shared<MemoryFile>(), std::make_shared<MemoryFile>()};
  std::vector<std::byte> before_;
  std::uint64_t judged_ = 0;
};

TEST_P(FaultOperationsTest, EveryRequestMayFail) {
  constexpr std::array kOperations = {Operation::read, Operation::write, Operation::discard,
                                      Operation::flush, Operation::resize};
  constexpr std::array kNames = {"read", "write", "discard", "flush", "resize"};
  for (const Operation operation : kOperations)
    for (const bool lasting : {false, true})
      for (std::uint64_t nth = 1; nth < 400 && !HasFailure(); ++nth) {
        Fault fault{.operation = operation, .nth = nth, .number = EIO, .lasting = lasting};
        fault.partial = operation == Operation::write && nth % 2 == 0;
        const std::string spelt = std::string(kNames[static_cast<std::size_t>(operation)]) + " " +
                                  std::to_string(nth) + (lasting ? " and all after it" : "");
        if (!with(fault, spelt)) break;
      }
  std::printf("%llu images judged\n", static_cast<unsigned long long>(judged_));
}

// A new file is made: what is half made is nobody's yet, but the failure is reported.
TEST(FaultOperations, CreationSaysWhatFailed) {
  World world(1);
  std::vector<CreateOptions> all = {encrypted().front().create};
  for (const Preallocation how :
       {Preallocation::metadata, Preallocation::falloc, Preallocation::full})
    for (const bool data_file : {false, true})
      all.push_back({.size = kDisk,
                     .cluster_bits = 9,
                     .refcount_order = 6,
                     .preallocation = how,
                     .data_file = data_file ? "d" : "",
                     .data_file_raw = data_file});
  for (const CreateOptions& options : all)
    for (const Operation operation :
         {Operation::read, Operation::write, Operation::flush, Operation::resize})
      for (std::uint64_t nth = 1;; ++nth) {
        const auto plan = std::make_shared<storage::FaultPlan>();
        plan->add({.operation = operation, .nth = nth, .number = ENOSPC});
        const auto faulty = [&] {
          return std::make_shared<storage::Faults>(std::make_shared<MemoryFile>(), plan);
        };
        std::shared_ptr<storage::Storage> data;
        if (!options.data_file.empty()) data = faulty();
        const auto made = run(world, create(faulty(), options, data));
        if (plan->met() == 0) break;
        EXPECT_FALSE(made.ok()) << static_cast<int>(operation) << " " << nth;
      }
}

INSTANTIATE_TEST_SUITE_P(All, FaultOperationsTest, ::testing::ValuesIn(subjects()),
                         [](const auto& subject) { return std::string(subject.param.name); });

}  // namespace
}  // namespace sim::qcow2
