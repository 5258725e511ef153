#include "sim/storage/faults.h"

namespace sim::storage {

static constexpr std::uint64_t kSector = 512;

void FaultPlan::add(Fault fault) {
  fault.nth += seen(fault.operation);
  faults_.push_back(fault);
}

std::optional<Fault> FaultPlan::meet(Operation operation) {
  const std::uint64_t count = ++seen_[static_cast<std::size_t>(operation)];
  for (const Fault& fault : faults_) {
    if (fault.operation != operation) continue;
    if (count != fault.nth && !(fault.lasting && count > fault.nth)) continue;
    ++met_;
    return fault;
  }
  return std::nullopt;
}

Task<Result<>> Faults::read(std::uint64_t offset, MutableBytes into) {
  if (const auto fault = plan_->meet(Operation::read)) co_return os_error(fault->number);
  co_return co_await next().read(offset, into);
}

std::optional<Fault> Faults::meet_write(std::uint64_t end) {
  auto fault = plan_->meet(Operation::write);
  if (end <= size()) return fault;
  const auto growth = plan_->meet(Operation::resize);  // counted, even where the write fails
  return fault ? fault : growth;
}

Task<Result<>> Faults::write(std::uint64_t offset, Bytes from) {
  const auto fault = meet_write(offset + from.size());
  if (!fault) co_return co_await next().write(offset, from);
  const std::size_t half = from.size() / 2 / kSector * kSector;
  if (fault->partial && half > 0) CO_TRY_OK(co_await next().write(offset, from.first(half)));
  co_return os_error(fault->number);
}

Task<Result<>> Faults::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  const auto fault = meet_write(offset + length);
  if (!fault) co_return co_await next().write_zeroes(offset, length, unmap);
  const std::uint64_t half = length / 2 / kSector * kSector;
  if (fault->partial && half > 0) CO_TRY_OK(co_await next().write_zeroes(offset, half, unmap));
  co_return os_error(fault->number);
}

Task<Result<>> Faults::discard(std::uint64_t offset, std::uint64_t length) {
  if (const auto fault = plan_->meet(Operation::discard)) co_return os_error(fault->number);
  co_return co_await next().discard(offset, length);
}

Task<Result<>> Faults::flush() {
  if (const auto fault = plan_->meet(Operation::flush)) co_return os_error(fault->number);
  co_return co_await next().flush();
}

Task<Result<>> Faults::truncate(std::uint64_t size) {
  if (const auto fault = plan_->meet(Operation::resize)) co_return os_error(fault->number);
  co_return co_await next().truncate(size);
}

}  // namespace sim::storage
