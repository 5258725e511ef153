// Block status: what is known to be zero without being read.

#include <algorithm>
#include <span>

#include "conformance/model/layer.h"
#include "sim/base/bytes.h"

namespace conformance::model {

namespace {

using Chain = std::span<const Layer* const>;

// How much guest space one piece of an L2 table covers: a lookup ends there (l2-cache-entry-size
// is the cluster, at most 4 KiB; an entry is 8 bytes).
std::uint64_t lookup_range(const Layer& layer) {
  return std::min<std::uint64_t>(layer.cluster_size(), 4096) / 8 * layer.cluster_size();
}

// The status of the piece that starts at `offset`, at most up to `end`.
StatusRun status_at(Chain chain, std::uint64_t offset, std::uint64_t end) {
  StatusRun found{.offset = offset, .length = end - offset, .whole = true};
  for (std::size_t depth = 0; depth < chain.size(); ++depth) {
    const Layer& layer = *chain[depth];
    if (offset >= layer.size()) {  // a short layer ends the search with zero
      found.may_be_zero = true;
      return found;
    }
    const auto next = std::ranges::upper_bound(layer.runs(), offset, {},
                                               [](const CellRun& run) { return run.offset; });
    const CellRun& run = *std::prev(next);
    found.length = std::min(found.length, run.offset + run.length - offset);
    const Cell& cell = run.cell;
    if (layer.format() == Format::raw) {  // holes are the file system's business
      found.may_be_data = true;
      found.may_be_zero = found.may_be_zero || cell.zero || cell.data.test(0);
      found.whole = false;
      return found;
    }
    const std::uint64_t range = lookup_range(layer);
    found.length = std::min(found.length, sim::align_down(offset, range) + range - offset);
    if (!cell.certain()) found.whole = false;
    if (cell.data.any()) found.may_be_data = true;
    if (cell.hole) {  // QEMU asks the file system where a file looks sparse to it
      found.may_be_zero = true;
      found.whole = false;
    }
    if (cell.zero) {
      found.may_be_zero = true;
      // Neighbouring zero clusters are one piece only if they are alike and side by side.
      if (found.length > layer.unit()) found.whole = false;
    }
    if (!cell.absent) return found;
  }
  found.may_be_zero = true;
  return found;
}

}  // namespace

std::vector<StatusRun> status(const LayerChain& chain, std::uint64_t offset, std::uint64_t length) {
  std::vector<StatusRun> runs;
  const std::uint64_t end = offset + length;
  while (offset < end) {
    runs.push_back(status_at(chain, offset, end));
    offset += runs.back().length;
  }
  return runs;
}

}  // namespace conformance::model
