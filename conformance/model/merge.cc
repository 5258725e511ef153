#include "conformance/model/merge.h"

#include <algorithm>
#include <optional>
#include <set>

#include "sim/base/bytes.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

LayerChain joined(LayerChain chain, const LayerChain& more) {
  chain.insert(chain.end(), more.begin(), more.end());
  return chain;
}

// Whether a layer is allocated somewhere in a range.
struct Allocation {
  bool possible = false;
  bool certain = false;
};

void add_runs(const Layer& layer, std::uint64_t offset, std::uint64_t end, Allocation& into) {
  for (const CellRun& run : layer.runs()) {
    if (offset >= end || run.offset >= end || run.offset + run.length <= offset) continue;
    into.possible = into.possible || run.cell.kind() != Kind::absent;
    into.certain = into.certain || !run.cell.absent;
  }
}

// A layer that ends before the range does hides what is below it there; whether the zeroes that are
// read count as its own is open.
Allocation allocation(const LayerChain& layers, std::uint64_t offset, std::uint64_t end) {
  Allocation result;
  for (const Layer* layer : layers) {
    result.possible = result.possible || layer->size() < end;
    end = std::min(end, layer->size());
    add_runs(*layer, offset, end, result);
  }
  return result;
}

// What a place is that was filled with what was read: zeroes may be written as such.
Cell filled(const Values& values) {
  Cell cell = Cell::DataOf(values);
  cell.zero = values.test(0);
  return cell;
}

// What a range of `active` may hold already stays; what may be absent has been filled.
void keep_what_is_there(Layer& filled, const Layer& active, std::uint64_t offset,
                        std::uint64_t end) {
  Layer kept = filled;
  for (const CellRun& run : active.runs()) {
    const std::uint64_t from = std::max(run.offset, offset);
    const std::uint64_t to = std::min(run.offset + run.length, end);
    if (from >= to || (!run.cell.zero && run.cell.data.none())) continue;
    Cell cell = run.cell;
    cell.absent = false;
    kept.assign(from, to - from, cell);
  }
  filled = either(filled, kept);
}

// What the disk showed as zeroes beyond the end of a short layer must not show what is longer.
void must_not_show(Layer& result, const LayerChain& below, std::uint64_t offset,
                   std::uint64_t end) {
  const std::vector<CellRun> runs = result.runs();
  for (const CellRun& run : runs) {
    const std::uint64_t from = std::max(run.offset, offset);
    const std::uint64_t to = std::min(run.offset + run.length, end);
    if (from >= to || !run.cell.absent || run.cell.kind() == Kind::absent) continue;
    Cell cell = run.cell;
    cell.absent = false;
    for (const ViewRun& shown : view(below, from, to - from))
      if (shown.pattern() != 0) result.assign(shown.offset, shown.length, cell);
  }
}

// Where none of these layers changes.
std::set<std::uint64_t> borders(const LayerChain& layers, std::uint64_t size) {
  std::set<std::uint64_t> all{0, size};
  for (const Layer* layer : layers) {
    for (const CellRun& run : layer->runs()) all.insert(std::min(run.offset, size));
    all.insert(std::min(layer->size(), size));
  }
  return all;
}

// What is read in a range, and whether that surely is committed.
struct Piece {
  ViewRun run;
  bool certain = false;
  bool continues(const Piece& next) const {
    return run.offset + run.length == next.run.offset && run.values == next.run.values &&
           certain == next.certain;
  }
};

// What is read in one run is written to the base: as data, or as zeroes.
Layer with_written(const Layer& base, const LayerChain& below, const ViewRun& run) {
  Layer as_data = base;
  write(as_data, below, run.offset, run.length, run.values);
  if (!run.values.test(0)) return as_data;
  Layer as_zeroes = base;
  write_zeroes(as_zeroes, below, run.offset, run.length);
  as_data = either(as_data, as_zeroes);
  // Nothing is written where nothing is beneath and zeroes are read already.
  const View now = view(joined({&base}, below), run.offset, run.length);
  const bool reads_zero =
      std::ranges::all_of(now, [](const ViewRun& it) { return it.values.test(0); });
  return below.empty() && reads_zero ? either(as_data, base) : as_data;
}

}  // namespace

Layer pulled(const Layer& active, const LayerChain& between, const LayerChain& below) {
  Layer result = active;
  if (active.format() == Format::raw) return result;
  const LayerChain whole = joined(joined({&active}, between), below);
  for (std::uint64_t offset = 0; offset < active.size(); offset += active.unit()) {
    const std::uint64_t end = std::min(offset + active.unit(), active.size());
    const Allocation above = allocation(between, offset, end);
    if (!active.at(offset).absent || !above.possible) continue;
    const Layer before = result;
    for (const ViewRun& run : view(whole, offset, end - offset))
      result.assign(run.offset, run.length, filled(run.values));
    keep_what_is_there(result, active, offset, end);
    if (!above.certain) result = either(before, result);
    must_not_show(result, below, offset, end);
  }
  return result;
}

Layer increment_pulled(const Layer& active, const LayerChain& below, std::uint64_t offset,
                       std::uint64_t length) {
  Layer result = active;
  if (active.format() == Format::raw || length == 0) return result;
  const LayerChain whole = joined({&active}, below);
  const std::uint64_t stop = std::min(sim::align_up(offset + length, active.unit()), active.size());
  for (std::uint64_t at = sim::align_down(offset, active.unit()); at < stop; at += active.unit()) {
    const std::uint64_t end = std::min(at + active.unit(), stop);
    if (!active.at(at).absent) continue;
    for (const ViewRun& run : view(whole, at, end - at))
      result.assign(run.offset, run.length, filled(run.values));
    keep_what_is_there(result, active, at, end);
  }
  return result;
}

static std::optional<std::uint64_t> first_absent(const Layer& layer, std::uint64_t offset,
                                                 std::uint64_t end) {
  for (const CellRun& run : layer.runs())
    if (run.cell.kind() == Kind::absent && run.offset < end && run.offset + run.length > offset)
      return std::max(run.offset, offset);
  return std::nullopt;
}

// One stretch of a pull or a commit is at most 512 KiB.
bool surely_sleeps(const Layer* own, const LayerChain& layers, std::uint64_t size) {
  constexpr std::uint64_t kLongest = 512U << 10;
  std::uint64_t end = size;
  for (const Layer* layer : layers) {
    end = std::min(end, layer->size());
    for (const CellRun& run : layer->runs()) {
      const std::uint64_t stop = std::min(run.offset + run.length, end);
      if (run.cell.absent || run.offset >= stop) continue;
      const auto from = own == nullptr ? run.offset : first_absent(*own, run.offset, stop);
      if (from && *from + kLongest < size) return true;
    }
  }
  return false;
}

bool surely_idle(const LayerChain& layers) {
  return std::ranges::all_of(layers, [&](const Layer* layer) {
    return layer->size() >= layers.front()->size() &&
           std::ranges::all_of(layer->runs(),
                               [](const CellRun& run) { return run.cell.kind() == Kind::absent; });
  });
}

Layer grown(const Layer& base, const LayerChain& below, std::uint64_t size) {
  if (size <= base.size()) return base;
  Layer result(base.format(), size, base.cluster_size(), base.version());
  for (const CellRun& run : base.runs()) result.assign(run.offset, run.length, run.cell);
  if (base.format() == Format::raw) return result;
  const std::uint64_t from = base.size();
  const std::uint64_t covered =
      below.empty() ? from : std::clamp(below.front()->size(), from, size);
  result.assign(covered, size - covered, either(Cell::Absent(), Cell::Zero()));
  // Of an allocated cluster that ended with the image, the rest is allocated, too.
  const std::uint64_t in_cluster = std::min(sim::align_up(from, base.unit()), size);
  if (in_cluster > from && base.at(from - 1).kind() != Kind::absent)
    result.assign(from, in_cluster - from, either(result.at(from), Cell::AnyZero()));
  if (covered == from) return result;
  // Zeroes are written over what would show from below: as data in the cluster that has begun.
  write(result, below, from, in_cluster - from, 0);
  if (covered > in_cluster) result.assign(in_cluster, covered - in_cluster, Cell::Zero());
  return result;
}

// The base with these written to it, one after the other.
static Layer with_all(Layer base, const LayerChain& below, const std::vector<Piece>& pieces) {
  for (const Piece& piece : pieces) {
    const Layer written = with_written(base, below, piece.run);
    base = piece.certain ? written : either(base, written);
  }
  return base;
}

Layer committed(const LayerChain& from, const Layer& base, const LayerChain& below) {
  CHECK(!from.empty(), "nothing to commit");
  const std::uint64_t size = from.front()->size();
  const LayerChain whole = joined(joined(from, {&base}), below);
  std::vector<Piece> pieces, joined_pieces;
  const std::set<std::uint64_t> all = borders(from, size);
  for (auto border = all.begin(); std::next(border) != all.end(); ++border) {
    const std::uint64_t end = *std::next(border);
    const Allocation above = allocation(from, *border, end);
    if (!above.possible) continue;
    for (const ViewRun& run : view(whole, *border, end - *border)) {
      pieces.push_back({run, above.certain});
      const bool goes_on = !joined_pieces.empty() && joined_pieces.back().continues(pieces.back());
      if (goes_on)
        joined_pieces.back().run.length += run.length;
      else
        joined_pieces.push_back(pieces.back());
    }
  }
  // Zeroes that make up a whole cluster of the base only together may be written as one.
  const Layer target = grown(base, below, size);
  return either(with_all(target, below, pieces), with_all(target, below, joined_pieces));
}

Layer begun(const LayerChain& from, const Layer& base, const LayerChain& below) {
  Layer result = base;
  if (base.format() == Format::raw) return result;
  const LayerChain whole = joined({&base}, below);
  for (std::uint64_t offset = 0; offset < base.size(); offset += base.unit()) {
    const std::uint64_t end = std::min(offset + base.unit(), base.size());
    if (!allocation(from, offset, end).possible) continue;
    // Writing one byte that is there already fills up the cluster.
    write(result, below, offset, 1, view(whole, offset, 1).front().values);
  }
  return either(base, result);
}

}  // namespace conformance::model
