// A filter that lets chosen requests fail, as a broken disk or a full file system would.

#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sim/storage/storage.h"

namespace sim::storage {

// What can fail.  Zero writes are writes; `resize` is a truncation, and the growth by a write
// (where a full file system refuses).
enum class Operation : unsigned char { read, write, discard, flush, resize };

struct Fault {
  Operation operation = Operation::read;
  std::uint64_t nth = 1;  // the first to fail, counted from 1 when the plan was given the fault
  int number = EIO;
  bool lasting = false;  // all that follow fail as well
  bool partial = false;  // a failing write stores its first half, in whole sectors
};

// Which requests fail.  One plan may be shared by several files: then it counts their requests
// together.
class FaultPlan {
 public:
  void add(Fault fault);
  void clear() { faults_.clear(); }

  // Counts a request; the fault that it meets, if any.
  std::optional<Fault> meet(Operation operation);

  std::uint64_t seen(Operation operation) const {
    return seen_[static_cast<std::size_t>(operation)];
  }
  std::uint64_t met() const { return met_; }  // faults that requests ran into

 private:
  std::array<std::uint64_t, 5> seen_{};
  std::uint64_t met_ = 0;
  std::vector<Fault> faults_;  // `nth` counted from the beginning
};

class Faults final : public Filter {
 public:
  Faults(std::shared_ptr<Storage> next, std::shared_ptr<FaultPlan> plan)
      : Filter(std::move(next)), plan_(std::move(plan)) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> flush() override;
  Task<Result<>> truncate(std::uint64_t size) override;

 private:
  // The fault of a write that ends at `end`.
  std::optional<Fault> meet_write(std::uint64_t end);

  std::shared_ptr<FaultPlan> plan_;
};

}  // namespace sim::storage
