// The clusters that an L1 table reaches: their counts, and the COPIED flags that follow from them.

#include <fmt/format.h>

#include <algorithm>

#include "sim/qcow2/compressed_span.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

namespace {

// Host clusters one behind the other.
struct Run {
  HostCluster first;
  std::uint64_t count = 0;
};

}  // namespace

Task<Result<std::vector<std::uint64_t>>> Image::read_l1(L1 l1) {
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> bytes(l1.entries * format::kEntryBytes);
  CO_TRY_OK(co_await file_->read(l1.offset.value, bytes));
  std::vector<std::uint64_t> entries(l1.entries);
  for (std::uint64_t i = 0; i < entries.size(); ++i)
    entries[i] = load_be<std::uint64_t>(bytes, i * format::kEntryBytes);
  co_return entries;
}

Task<Result<>> Image::write_l1(HostOffset at, const std::vector<std::uint64_t>& entries) {
  std::vector<std::byte> bytes(entries.size() * format::kEntryBytes);
  for (std::uint64_t i = 0; i < entries.size(); ++i)
    store_be(MutableBytes(bytes), i * format::kEntryBytes, entries[i]);
  CO_TRY_OK(co_await tables_.flush());
  tables_.forget(at, geometry_.clusters_for(bytes.size()));
  CO_TRY_OK(co_await file_->write(at.value, bytes));
  co_return co_await file_->flush();
}

// The L2 table that an entry of an L1 table names; value 0: none.
Result<HostOffset> Image::table_of(std::uint64_t l1_entry) const {
  const HostOffset table{l1_entry & format::kOffsetMask};
  if (geometry_.within(table) != 0)
    return os_error(EIO, fmt::format("L2 table offset {:#x} unaligned", table.value));
  return table;
}

Task<Result<>> Image::change_count(HostCluster first, std::uint64_t count, Share share) {
  if (count == 0) co_return ok();
  if (share == Share::raise) co_return co_await refcounts_.raise(first, count);
  co_return co_await refcounts_.release(first, count, true);
}

// Changes the counts of what one L2 table refers to.  `most` entries at most, of which `done` says
// how many could be done.
Task<Result<>> Image::share_clusters(HostOffset table, Share share, std::uint64_t most,
                                     std::uint64_t& done) {
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> entries(cluster_size());
  CO_TRY_OK(co_await file_->read(table.value, entries));
  const std::uint64_t step = geometry_.l2_entry_bytes();
  Run run;
  for (std::uint64_t i = 0; i < most; ++i) {
    const L2Entry entry{.word = load_be<std::uint64_t>(entries, i * step)};
    Run next;
    if (entry.compressed()) {
      const CompressedSpan span = compressed_span(entry.word, geometry_.cluster_bits);
      next.first = geometry_.cluster_of(span.offset);
      next.count =
          geometry_.cluster_of(span.offset + (span.bytes - 1)).value - next.first.value + 1;
    } else if (format_.placed(entry)) {
      if (geometry_.within(entry.host()) != 0)
        co_return os_error(EIO, fmt::format("Cluster {:#x} unaligned", entry.host().value));
      next = {geometry_.cluster_of(entry.host()), 1};
    }
    if (next.count == 0) continue;
    if (!entry.compressed() && run.first + run.count == next.first) {
      ++run.count;
      continue;
    }
    CO_TRY_OK(co_await change_count(run.first, run.count, share));
    done = i;
    run = next;
    if (!entry.compressed()) continue;
    CO_TRY_OK(co_await change_count(run.first, run.count, share));
    done = i + 1;
    run = {};
  }
  CO_TRY_OK(co_await change_count(run.first, run.count, share));
  done = most;
  co_return ok();
}

// Changes the counts of the whole tree; what was raised before a failure is lowered again.
Task<Result<>> Image::share_tree(const std::vector<std::uint64_t>& l1, Share share) {
  const std::uint64_t all = geometry_.l2_entries();
  for (std::size_t i = 0; i < l1.size(); ++i) {
    CO_TRY(const HostOffset table, table_of(l1[i]));
    if (table.value == 0) continue;
    std::uint64_t done = 0;
    auto shared = co_await share_clusters(table, share, all, done);
    if (shared) shared = co_await change_count(geometry_.cluster_of(table), 1, share);
    if (shared) continue;
    if (share == Share::lower) co_return shared;
    std::uint64_t ignored = 0;
    CO_TRY_OK(co_await share_clusters(table, Share::lower, done, ignored));
    CO_TRY_OK(co_await share_tree({l1.begin(), l1.begin() + static_cast<std::ptrdiff_t>(i)},
                                  Share::lower));
    half_changed_ = false;
    co_return shared;
  }
  co_return ok();
}

// Sets COPIED exactly where a count is 1, in the tables that an L1 table names and in its entries.
Task<Result<>> Image::refresh_copied(std::vector<std::uint64_t>& l1) {
  CO_TRY_OK(co_await tables_.flush());
  for (std::uint64_t& entry : l1) {
    CO_TRY(const HostOffset table, table_of(entry));
    if (table.value == 0) continue;
    CO_TRY(const std::uint64_t count, co_await refcounts_.count(geometry_.cluster_of(table)));
    if (count == 0) continue;
    CO_TRY_OK(co_await refresh_copied_in(table));
    entry = (entry & ~format::kCopied) | (count == 1 ? format::kCopied : 0);
  }
  co_return ok();
}

Task<Result<>> Image::refresh_copied_in(HostOffset table) {
  std::vector<std::byte> entries(cluster_size());
  CO_TRY_OK(co_await file_->read(table.value, entries));
  std::uint64_t first = UINT64_MAX, end = 0;
  for (std::uint64_t i = 0; i < entries.size(); i += geometry_.l2_entry_bytes()) {
    const L2Entry old{.word = load_be<std::uint64_t>(entries, i)};
    if (old.compressed()) continue;
    bool copied = false;
    if (format_.placed(old)) {
      CO_TRY(const std::uint64_t count,
             co_await refcounts_.count(geometry_.cluster_of(old.host())));
      copied = count == 1;
    }
    if (copied == old.copied()) continue;
    store_be(MutableBytes(entries), i, old.word ^ format::kCopied);
    first = std::min(first, i);
    end = i + format::kEntryBytes;
  }
  if (end == 0) co_return ok();
  tables_.forget(table, 1);
  co_return co_await file_->write(table.value + first, Bytes(entries).subspan(first, end - first));
}

}  // namespace sim::qcow2
