#include "sim/qcow2/check.h"

#include <array>

#include "sim/qcow2/checker.h"
#include "sim/qcow2/format.h"

namespace sim::qcow2 {

Checker::Checker(storage::Storage& file, Header& header, const CheckOptions& options)
    : file_(file),
      header_(header),
      options_(options),
      repair_(options.repair),
      geometry_(header.geometry()),
      order_(header.refcount_order),
      file_bytes_(file.size()),
      counts_(0) {}

Result<> Checker::within_bounds() const {
  if (work_ > kWorkMax) return os_error(EFBIG, "The check would take too long");
  if (counts_.memory() + repeated_.size() * kRepeatedBytes + freed_.size() * sizeof(freed_[0]) >
      kMemoryMax)
    return os_error(ENOMEM, "The check would take too much memory");
  return ok();
}

Task<Result<CheckResult>> Checker::run() {
  const std::uint64_t clusters = geometry_.clusters_for(file_bytes_);
  if (clusters > kClustersMax) co_return os_error(EFBIG);
  counts_.grow(clusters);
  result_.total_clusters = geometry_.clusters_for(header_.size);
  CO_TRY_OK(co_await read_refcount_table());
  CO_TRY_OK(co_await read_snapshots());
  CO_TRY_OK(co_await count_references());
  const CheckResult counted = result_;
  CO_TRY_OK(co_await compare(Repair::none, options_.repair == Repair::none));
  if (must_rebuild_ && repairs_all()) {
    CO_TRY_OK(co_await rebuild_and_recount());
  } else if (must_rebuild_ && repairs_leaks()) {
    say("ERROR need to rebuild refcount structures");
    co_return os_error(EIO);
  } else if (repairs_leaks() && (result_.leaks != 0 || result_.corruptions != 0)) {
    result_ = counted;
    CO_TRY_OK(co_await compare(options_.repair, true));
    CO_TRY_OK(co_await discard_freed());
  }
  CO_TRY_OK(co_await check_copied());
  result_.image_end_offset = end_ << geometry_.cluster_bits;
  CO_TRY_OK(co_await repair_snapshots());
  if (repairs_leaks()) CO_TRY_OK(co_await file_.flush());
  co_return result_;
}

namespace {

// Clears the bits that say that an image needs a repair.
Task<Result<>> mark_clean(storage::Storage& file, const Header& header) {
  constexpr std::uint64_t kBits = format::kIncompatibleDirty | format::kIncompatibleCorrupt;
  if (header.version < 3 || (header.incompatible_features & kBits) == 0) co_return ok();
  std::array<std::byte, 8> features{};
  store_be(MutableBytes(features), 0, header.incompatible_features & ~kBits);
  CO_TRY_OK(co_await file.flush());
  CO_TRY_OK(co_await file.write(format::at::incompatible_features, features));
  co_return co_await file.flush();
}

}  // namespace

namespace {

// Refuses what would make the file more than twice as long as it was.
class AtMostDoubled final : public storage::Filter {
 public:
  explicit AtMostDoubled(std::shared_ptr<storage::Storage> next)
      : Filter(std::move(next)), limit_(2 * size()) {}
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    if (offset > limit_ || from.size() > limit_ - offset) co_return os_error(EFBIG);
    co_return co_await next().write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    if (offset > limit_ || length > limit_ - offset) co_return os_error(EFBIG);
    co_return co_await next().write_zeroes(offset, length, unmap);
  }
  Task<Result<>> truncate(std::uint64_t size) override {
    if (size > limit_) co_return os_error(EFBIG);
    co_return co_await next().truncate(size);
  }

 private:
  std::uint64_t limit_;
};

}  // namespace

Task<Result<CheckResult>> check(std::shared_ptr<storage::Storage> file, CheckOptions options) {
  file = std::make_shared<AtMostDoubled>(std::move(file));
  CO_TRY(Header header, co_await read_header(*file, HeaderUse::check));
  CO_TRY(CheckResult result, co_await Checker(*file, header, options).run());
  if (options.repair == Repair::none) co_return result;
  if (result.corruptions == 0 && result.check_errors == 0) {
    // What was changed is looked at again before the image is called clean.
    if (result.corruptions_fixed != 0 || result.leaks_fixed != 0) {
      const CheckOptions look;
      CO_TRY(header, co_await read_header(*file, HeaderUse::check));
      CO_TRY(const CheckResult now, co_await Checker(*file, header, look).run());
      result.corruptions = now.corruptions;
      result.check_errors = now.check_errors;
    }
    if (result.corruptions == 0 && result.check_errors == 0)
      CO_TRY_OK(co_await mark_clean(*file, header));
  }
  co_return result;
}

}  // namespace sim::qcow2
