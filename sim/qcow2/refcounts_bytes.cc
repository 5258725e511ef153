// Room for compressed data, which may begin at any byte.

#include "sim/qcow2/compress.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/refcounts.h"

namespace sim::qcow2 {

// In QEMU's order: behind what was placed last; beyond the end of its cluster only if the next one
// is adjacent.
Task<Result<HostOffset>> Refcounts::allocate_bytes(std::uint64_t bytes) {
  if (tables_.observed()) co_await tables_.tell("cluster_alloc_bytes");
  HostOffset at = free_byte_;
  if (at.value != 0) {
    CO_TRY(const std::uint64_t used, co_await count(geometry_.cluster_of(at)));
    if (used == UINT64_MAX >> (64 - (std::uint64_t{1} << order_))) at = {};
  }
  const std::uint64_t room = geometry_.cluster_bytes() - geometry_.within(at);
  for (;;) {
    if (at.value == 0 || room < bytes) {
      CO_TRY(const HostCluster made, co_await find_run(1));
      const HostOffset start = geometry_.start_of(made);
      if (made.value == 0)
        co_return tables_.metadata().report(
            "Preventing invalid allocation of compressed cluster at offset 0");
      if (at.value == 0 || start.value != align_up(at.value, geometry_.cluster_bytes())) at = start;
    }
    const TouchedClusters touched = touched_clusters(geometry_.cluster_bits, {at, bytes});
    CO_TRY(const Outcome outcome, co_await change(touched.first, touched.count, Change::raise));
    if (outcome == Outcome::done) break;
    at = {};
  }
  if (tables_.observed()) co_await tables_.observed_link(false);
  const HostOffset end = at + bytes;
  free_byte_ = geometry_.within(end) == 0 ? HostOffset{} : end;
  co_return at;
}

}  // namespace sim::qcow2
