#include "conformance/model/layer.h"

#include <algorithm>
#include <span>

#include "sim/base/bytes.h"
#include "sim/base/check.h"
#include "sim/base/size.h"

namespace conformance::model {

namespace {

using Chain = std::span<const Layer* const>;

bool joins(const CellRun& left, const CellRun& right) { return left.cell == right.cell; }
bool joins(const ViewRun& left, const ViewRun& right) { return left.values == right.values; }

// Appends a run, joined with the last one if they are alike.
template <class Run>
void append(std::vector<Run>& runs, const Run& run) {
  if (run.length == 0) return;
  if (!runs.empty() && joins(runs.back(), run))
    runs.back().length += run.length;
  else
    runs.push_back(run);
}

// The part of `run` within [offset, end); of length 0 if there is none.
template <class Run>
Run clipped(Run run, std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t from = std::max(run.offset, offset);
  const std::uint64_t to = std::min(run.offset + run.length, end);
  run.offset = from;
  run.length = to > from ? to - from : 0;
  return run;
}

// docs/model.md, 1.2.
void append_view(View& into, Chain chain, std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t size = chain.empty() ? 0 : chain.front()->size();
  const std::uint64_t inside = std::min(end, std::max(offset, size));
  if (!chain.empty()) {
    for (const CellRun& whole : chain.front()->runs()) {
      const CellRun run = clipped(whole, offset, inside);
      if (run.length == 0) continue;
      if (!run.cell.absent) {
        append(into, ViewRun{run.offset, run.length, values_of(run.cell, {})});
        continue;
      }
      View below;
      append_view(below, chain.subspan(1), run.offset, run.offset + run.length);
      for (const ViewRun& part : below)
        append(into, ViewRun{part.offset, part.length, values_of(run.cell, part.values)});
    }
  }
  append(into, ViewRun{inside, end - inside, value(0)});
}

// Calls visit(offset, length, left run, right run) for each range in which neither changes.
template <class Run, class Visit>
void side_by_side(const std::vector<Run>& left, const std::vector<Run>& right, Visit visit) {
  for (std::size_t l = 0, r = 0; l < left.size() && r < right.size();) {
    const std::uint64_t left_end = left[l].offset + left[l].length;
    const std::uint64_t right_end = right[r].offset + right[r].length;
    const std::uint64_t from = std::max(left[l].offset, right[r].offset);
    const std::uint64_t to = std::min(left_end, right_end);
    visit(from, to - from, left[l], right[r]);
    l += to == left_end;
    r += to == right_end;
  }
}

// One cluster, or what of it lies within the layer.
struct Cluster {
  std::uint64_t offset;
  std::uint64_t end;
};
Cluster cluster_of(const Layer& layer, std::uint64_t offset) {
  const std::uint64_t start = sim::align_down(offset, layer.unit());
  return {start, std::min(start + layer.unit(), layer.size())};
}

LayerChain on_top(const Layer& top, const LayerChain& below) {
  LayerChain chain{&top};
  chain.insert(chain.end(), below.begin(), below.end());
  return chain;
}

// Copy on write: what of the cluster is not surely allocated becomes data as it reads.
void allocate(Layer& top, const LayerChain& below, Cluster cluster) {
  const LayerChain chain = on_top(top, below);
  const std::uint64_t length = cluster.end - cluster.offset;
  const std::vector<StatusRun> known = status(chain, cluster.offset, length);
  for (const ViewRun& run : view(chain, cluster.offset, length)) {
    // Data stays as it is, and what reads alike but is perhaps no data becomes data.
    for (const StatusRun& part : known) {
      const StatusRun here = clipped(part, run.offset, run.offset + run.length);
      Cell cell = Cell::DataOf(run.values);
      cell.hole = run.values.test(0) && here.may_be_zero;
      top.assign(here.offset, here.length, cell);
    }
  }
}

// Splits [offset, offset+length) into a partly covered first cluster, whole ones, and a partly
// covered last one.  The layer's end ends a cluster.
template <class Partial, class Whole>
void by_cluster(const Layer& layer, std::uint64_t offset, std::uint64_t length, Partial partial,
                Whole whole) {
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const Cluster cluster = cluster_of(layer, offset);
    if (offset == cluster.offset && end >= cluster.end) {
      const std::uint64_t stop =
          end == layer.size() ? end : std::max(cluster.end, sim::align_down(end, layer.unit()));
      whole(offset, stop);
      offset = stop;
    } else {
      const std::uint64_t stop = std::min(end, cluster.end);
      partial(cluster, offset, stop);
      offset = stop;
    }
  }
}

// A zero write to a part [offset, end) of a cluster.
void zero_partial(Layer& top, const LayerChain& below, Cluster cluster, std::uint64_t offset,
                  std::uint64_t end) {
  const LayerChain chain = on_top(top, below);
  bool may_be_unallocated = true;
  bool surely_unallocated = true;
  for (const CellRun& whole : top.runs()) {
    const CellRun run = clipped(whole, cluster.offset, cluster.end);
    if (run.length == 0) continue;
    may_be_unallocated = may_be_unallocated && (run.cell.absent || run.cell.zero);
    surely_unallocated = surely_unallocated && run.cell.data.none();
  }
  bool may_be_zero = may_be_unallocated;
  bool surely_zero = surely_unallocated;
  for (const auto& [from, to] : {std::pair{cluster.offset, offset}, std::pair{end, cluster.end}}) {
    if (from == to) continue;
    for (const StatusRun& run : status(chain, from, to - from)) {
      may_be_zero = may_be_zero && run.may_be_zero;
      surely_zero = surely_zero && run.may_be_zero && !run.may_be_data;
    }
  }
  // The whole cluster becomes one of zeroes if the rest of it is known to be zero, not merely if
  // its bytes are; a version 2 image has no such cluster, but may drop one.
  const Cell zeroed = top.version() >= 3 ? Cell::Zero()
                      : below.empty()    ? Cell::Absent()
                                         : Cell::Data(0);
  if (surely_zero) {
    top.assign(cluster.offset, cluster.end - cluster.offset, zeroed);
  } else if (may_be_zero) {
    top.assign(cluster.offset, cluster.end - cluster.offset, either(zeroed, Cell::Data(0)));
  } else {
    allocate(top, below, cluster);
    top.assign(offset, end - offset, Cell::Data(0));
  }
}

}  // namespace

std::string text(const View& view) {
  std::string text;
  for (const ViewRun& run : view)
    text +=
        (text.empty() ? "" : " ") + model::text(run.values) + "*" + sim::format_size(run.length);
  return text;
}

Layer::Layer(Format format, std::uint64_t size, std::uint64_t cluster_size, int version)
    : format_(format), size_(size), cluster_size_(cluster_size), version_(version) {
  CHECK(format == Format::raw || sim::is_power_of_two(cluster_size));
  if (size != 0)
    runs_.push_back({0, size, format == Format::raw ? Cell::AnyZero() : Cell::Absent()});
}

const Cell& Layer::at(std::uint64_t offset) const {
  CHECK(offset < size_);
  const auto after =
      std::ranges::upper_bound(runs_, offset, {}, [](const CellRun& run) { return run.offset; });
  return std::prev(after)->cell;
}

void Layer::assign(std::uint64_t offset, std::uint64_t length, const Cell& cell) {
  CHECK(offset <= size_ && length <= size_ - offset, "a range beyond the layer's end");
  if (length == 0) return;
  Cell kept = cell;
  if (format_ == Format::raw) {
    // A raw file does not say which of its zeroes are holes, and is nowhere absent.
    CHECK(!cell.absent, "a raw layer has no absent places");
    if (cell.zero || cell.data.test(0)) kept = either(kept, Cell::AnyZero());
  }
  std::vector<CellRun> runs;
  runs.reserve(runs_.size() + 2);
  const std::uint64_t end = offset + length;
  for (const CellRun& run : runs_) append(runs, clipped(run, 0, offset));
  append(runs, CellRun{offset, length, kept});
  for (const CellRun& run : runs_) append(runs, clipped(run, end, size_));
  runs_ = std::move(runs);
}

Layer either(const Layer& left, const Layer& right) {
  Layer both = left;
  side_by_side(left.runs(), right.runs(),
               [&](std::uint64_t offset, std::uint64_t length, const CellRun& l, const CellRun& r) {
                 both.assign(offset, length, either(l.cell, r.cell));
               });
  return both;
}

bool allocation_is_known(const Layer& layer) {
  return std::ranges::all_of(layer.runs(), [](const CellRun& run) {
    return !run.cell.absent || run.cell.kind() == Kind::absent;
  });
}

View either(const View& left, const View& right) {
  View both;
  side_by_side(left, right,
               [&](std::uint64_t offset, std::uint64_t length, const ViewRun& l, const ViewRun& r) {
                 append(both, ViewRun{offset, length, l.values | r.values});
               });
  return both;
}

View view(const LayerChain& chain) {
  return chain.empty() ? View{} : view(chain, 0, chain.front()->size());
}

View view(const LayerChain& chain, std::uint64_t offset, std::uint64_t length) {
  View into;
  append_view(into, chain, offset, offset + length);
  return into;
}

void write(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length,
           std::uint8_t pattern) {
  write(top, below, offset, length, value(pattern));
}

void write(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length,
           const Values& values) {
  by_cluster(
      top, offset, length,
      [&](Cluster cluster, std::uint64_t, std::uint64_t) { allocate(top, below, cluster); },
      [](std::uint64_t, std::uint64_t) {});
  top.assign(offset, length, Cell::DataOf(values));
}

void write_zeroes(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length) {
  if (top.format() == Format::raw) return top.assign(offset, length, Cell::AnyZero());
  by_cluster(
      top, offset, length,
      [&](Cluster cluster, std::uint64_t from, std::uint64_t to) {
        zero_partial(top, below, cluster, from, to);
      },
      [&](std::uint64_t from, std::uint64_t to) {
        top.assign(from, to - from,
                   top.version() >= 3 ? Cell::Zero()
                   : below.empty()    ? Cell::Absent()
                                      : Cell::Data(0));
      });
}

void discard(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length) {
  if (top.format() == Format::raw) return top.assign(offset, length, Cell::AnyZero());
  if (top.version() < 3 && !below.empty()) return;  // or the backing's data would come back
  by_cluster(
      top, offset, length, [](Cluster, std::uint64_t, std::uint64_t) {},
      [&](std::uint64_t from, std::uint64_t to) {
        const std::vector<CellRun> before = top.runs();
        for (const CellRun& whole : before) {
          const CellRun run = clipped(whole, from, to);
          if (run.length == 0) continue;
          Cell after;
          if (run.cell.absent) after = below.empty() ? Cell::Absent() : Cell::Zero();
          if (run.cell.zero) after = either(after, Cell::Zero());
          if (run.cell.data.any())
            after = either(after, top.version() >= 3 ? Cell::Zero() : Cell::Absent());
          top.assign(run.offset, run.length, after);
        }
      });
}

}  // namespace conformance::model
