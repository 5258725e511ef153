#include "conformance/model/mirror.h"

#include <algorithm>

#include "sim/base/bytes.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

// What a dirty granule is to the job.
enum class Granule : std::uint8_t {
  data,        // read and written
  zero,        // written as zeroes without being read
  maybe_zero,  // reads as zeroes; a release may do either
};

// `was_zero`: it was known to be zero at an earlier moment at which it may have been copied.
Granule classify(const LayerChain& source, std::uint64_t offset, std::uint64_t length,
                 bool complete, bool was_zero) {
  const std::vector<StatusRun> runs = status(source, offset, length);
  bool sure = complete && runs.size() == 1 && runs.front().whole;
  for (const StatusRun& run : runs) {
    if (!run.may_be_zero && !was_zero) return Granule::data;
    if (!run.may_be_zero || run.may_be_data) sure = false;
  }
  for (const ViewRun& run : view(source, offset, length))
    if (only(run.values) != 0) return Granule::data;
  return sure ? Granule::zero : Granule::maybe_zero;
}

// `onto` may in each place be as it is or as `other` is.
void merge(Layer& onto, const Layer& other) {
  std::uint64_t at = 0;
  Layer merged = onto;
  auto left = onto.runs().begin();
  auto right = other.runs().begin();
  while (at < onto.size()) {
    const std::uint64_t end = std::min(left->offset + left->length, right->offset + right->length);
    if (left->cell != right->cell) merged.assign(at, end - at, either(left->cell, right->cell));
    at = end;
    if (left->offset + left->length == at) ++left;
    if (right->offset + right->length == at) ++right;
  }
  onto = std::move(merged);
}

// Writes what is read through `chain` as data.
void write_view(Layer& onto, const LayerChain& chain, std::uint64_t offset, std::uint64_t length) {
  for (const ViewRun& run : view(chain, offset, length))
    onto.assign(run.offset, run.length, Cell::DataOf(run.values));
}

LayerChain on_top(const Layer& top, const LayerChain& below) {
  LayerChain chain{&top};
  chain.insert(chain.end(), below.begin(), below.end());
  return chain;
}

}  // namespace

std::uint64_t default_granularity(const Layer& destination) {
  if (destination.format() == Format::raw) return 65536;
  return std::clamp<std::uint64_t>(destination.cluster_size(), 4096, 65536);
}

// One pass over dirty granules.
struct MirrorRun::Copy {
  const MirrorRun& run;
  Layer& onto;
  const LayerChain& source;
  const LayerChain& attached;
  const std::vector<bool>& dirty;

  std::uint64_t start_of(std::uint64_t granule) const { return granule * run.granularity_; }
  std::uint64_t end_of(std::uint64_t granule) const {
    return std::min((granule + 1) * run.granularity_, onto.size());
  }
  Granule kind_of(std::uint64_t granule) const {
    const std::uint64_t length = end_of(granule) - start_of(granule);
    return classify(source, start_of(granule), length, length == run.granularity_,
                    run.was_zero_[granule]);
  }

  // The granule is written as zeroes, perhaps by allocating them.
  void zero(std::uint64_t offset, std::uint64_t length, bool may_be_data) {
    const bool may_stay_absent = !run.options_.header_backing && attached.empty();
    const std::vector<CellRun> before = onto.runs();
    for (const CellRun& old : before) {
      const std::uint64_t from = std::max(old.offset, offset);
      const std::uint64_t to = std::min(old.offset + old.length, offset + length);
      if (from >= to) continue;
      Cell cell = may_be_data ? Cell::AnyZero() : Cell::Zero();
      if (old.cell.absent && (may_stay_absent || shows_zeroes(from, to)))
        cell = either(cell, Cell::Absent());
      onto.assign(from, to - from, cell);
    }
  }

  // What is attached below reads as zero there, so that nothing need be written (11.1).
  bool shows_zeroes(std::uint64_t from, std::uint64_t to) const {
    if (attached.empty()) return false;
    const View below = view(attached, from, to - from);
    return std::ranges::all_of(below, [](const ViewRun& run) { return run.pattern() == 0; });
  }

  // Destination clusters no larger than a granule: each granule for itself.
  void by_granule() {
    for (std::uint64_t granule = 0; granule < dirty.size(); ++granule) {
      if (!dirty[granule]) continue;
      const std::uint64_t offset = start_of(granule);
      const std::uint64_t length = end_of(granule) - offset;
      const Granule kind = kind_of(granule);
      if (kind == Granule::data)
        write_view(onto, source, offset, length);
      else
        zero(offset, length, kind == Granule::maybe_zero);
    }
  }

  // Destination clusters larger than a granule: writing a part of one allocates it all.
  void by_cluster() {
    const std::uint64_t cluster = onto.unit();
    for (std::uint64_t offset = 0; offset < onto.size(); offset += cluster)
      one_cluster(offset, std::min(offset + cluster, onto.size()));
  }
  void one_cluster(std::uint64_t offset, std::uint64_t end) {
    bool any = false;
    bool all_zero = true;  // also if the disk ends within the cluster: then either way is legal
    for (std::uint64_t granule = offset / run.granularity_; start_of(granule) < end; ++granule) {
      any = any || dirty[granule];
      all_zero = all_zero && dirty[granule] && kind_of(granule) != Granule::data;
    }
    if (!any) return;
    if (all_zero) return zero(offset, end - offset, true);
    const bool widened = run.options_.header_backing && attached.empty();
    if (widened && first_time(offset, end))
      write_view(onto, source, offset, end - offset);
    else
      write_view(onto, on_top(onto, attached), offset, end - offset);
    for (std::uint64_t granule = offset / run.granularity_; start_of(granule) < end; ++granule)
      if (dirty[granule])
        write_view(onto, source, start_of(granule), end_of(granule) - start_of(granule));
  }
  // Whether the job has not written this cluster before: it widens the first time only.
  bool first_time(std::uint64_t offset, std::uint64_t end) const {
    if (!run.synced_) return true;
    for (std::uint64_t granule = offset / run.granularity_; start_of(granule) < end; ++granule)
      if (run.dirty_[granule]) return false;
    return true;
  }
};

MirrorRun::MirrorRun(const MirrorOptions& options, const LayerChain& source,
                     const Layer& destination, const LayerChain& attached)
    : options_(options),
      granularity_(options.granularity != 0 ? options.granularity
                                            : default_granularity(destination)),
      initial_(destination),
      current_(destination) {
  CHECK(!source.empty() && source.front()->size() == destination.size());
  const std::uint64_t size = destination.size();
  dirty_.assign(sim::div_up(size, granularity_), options.sync == Sync::full);
  if (options.sync == Sync::top)
    for (unsigned layer = 0; layer < options.layers; ++layer) mark_allocated(*source.at(layer));
  for (std::uint64_t granule = 0; granule < dirty_.size(); ++granule) {
    if (!dirty_[granule]) continue;
    const std::uint64_t from = granule * granularity_;
    const std::uint64_t length = std::min(granularity_, size - from);
    dirty_at_start_ += length;
    if (classify(source, from, length, true, false) == Granule::data) data_at_start_ += length;
  }

  was_zero_.assign(dirty_.size(), false);
  pending_ = dirty_;
  remember_zeroes(source, dirty_);
  was_data_.assign(dirty_.size(), false);
  merge_late_reads(source, dirty_);
  // An interruption leaves each place as it was, as zeroes, or as copied.
  Layer done = initial_;
  copy(done, source, attached, dirty_);
  merge(current_, done);
  whole_ = done;
  if (options.sync == Sync::full && size != 0) {
    Layer zeroed = initial_;
    zeroed.assign(0, size, Cell::Zero());
    merge(current_, zeroed);
  }
  if (destination.unit() > granularity_) {
    // … and a cluster of which only a part has been copied, completed by copy on write.
    Layer started = initial_;
    const LayerChain seen = on_top(initial_, attached);
    for (std::uint64_t granule = 0; granule < dirty_.size(); ++granule) {
      if (!dirty_[granule]) continue;
      const std::uint64_t from = sim::align_down(granule * granularity_, destination.unit());
      write_view(started, seen, from, std::min(from + destination.unit(), size) - from);
    }
    merge(current_, started);
  }
}

void MirrorRun::mark_allocated(const Layer& layer) {
  for (const CellRun& run : layer.runs()) {
    if (run.cell.kind() == Kind::absent) continue;
    for (std::uint64_t granule = run.offset / granularity_;
         granule <= (run.offset + run.length - 1) / granularity_; ++granule)
      dirty_[granule] = true;
  }
}

std::vector<bool> MirrorRun::touched(std::uint64_t offset, std::uint64_t length) const {
  std::vector<bool> granules(dirty_.size(), false);
  if (length == 0) return granules;
  const std::uint64_t last =
      std::min<std::uint64_t>((offset + length - 1) / granularity_, granules.size() - 1);
  for (std::uint64_t granule = offset / granularity_; granule <= last; ++granule)
    granules[granule] = true;
  return granules;
}

// The granules, and those of the same destination clusters that are dirty already.
std::vector<bool> MirrorRun::with_pending(const std::vector<bool>& granules) const {
  std::vector<bool> all = granules;
  const std::uint64_t each = std::max<std::uint64_t>(1, initial_.unit() / granularity_);
  for (std::size_t start = 0; start < all.size(); start += each) {
    const std::size_t end = std::min<std::size_t>(start + each, all.size());
    const auto first = granules.begin() + static_cast<std::ptrdiff_t>(start);
    const auto last = granules.begin() + static_cast<std::ptrdiff_t>(end);
    if (std::find(first, last, true) == last) continue;
    for (std::size_t i = start; i < end; ++i) all[i] = all[i] || pending_[i];
  }
  return all;
}

void MirrorRun::remember_zeroes(const LayerChain& source, const std::vector<bool>& granules) {
  for (std::uint64_t granule = 0; granule < granules.size(); ++granule) {
    if (!granules[granule] || was_zero_[granule]) continue;
    const std::uint64_t offset = granule * granularity_;
    const std::uint64_t end = std::min(offset + granularity_, initial_.size());
    was_zero_[granule] = classify(source, offset, end - offset, true, false) != Granule::data;
  }
}

// Before READY a request may have been started for data and read after the guest has zeroed it:
// then zeroes are written as data, and are dirty.
void MirrorRun::merge_late_reads(const LayerChain& source, const std::vector<bool>& granules) {
  Layer late = current_;
  for (std::uint64_t granule = 0; granule < granules.size(); ++granule) {
    if (!granules[granule]) continue;
    const std::uint64_t offset = granule * granularity_;
    const std::uint64_t length = std::min(offset + granularity_, initial_.size()) - offset;
    if (was_data_[granule]) write_view(late, source, offset, length);
    was_data_[granule] =
        was_data_[granule] || classify(source, offset, length, true, false) != Granule::zero;
  }
  if (!synced_) merge(current_, late);
}

// A guest's write dirties the granules it touches.  By copy on write it may also allocate more of
// the source, where it does not change what is read but what is known to be zero; granules there
// that are dirty already may be copied before or after it.
void MirrorRun::source_changed(const LayerChain& source, const LayerChain& attached,
                               std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t unit = source.front()->unit();
  const std::uint64_t from = sim::align_down(offset, unit);
  const std::vector<bool> granules = touched(offset, length);
  std::vector<bool> around = touched(from, sim::align_up(offset + length, unit) - from);
  for (std::size_t i = 0; i < granules.size(); ++i) {
    if (granules[i]) was_zero_[i] = false;
    around[i] = around[i] && pending_[i] && !granules[i];
  }
  remember_zeroes(source, granules);
  Layer done = current_;
  copy(done, source, attached, granules);
  // What was dirty before may be copied in one piece with it, which matters to a destination
  // cluster of several granules: only a whole one can be zeroed.
  Layer together = current_;
  if (together.unit() > granularity_) copy(together, source, attached, with_pending(granules));
  if (synced_)
    current_ = done;
  else
    merge(current_, done);
  if (together.unit() > granularity_) merge(current_, together);
  copy(done, source, attached, around);
  merge(current_, done);
  merge_late_reads(source, granules);
  for (std::size_t i = 0; i < granules.size(); ++i) {
    dirty_[i] = dirty_[i] || granules[i];
    pending_[i] = pending_[i] || granules[i];
  }
}

// A granule that is dirty may have been copied before.  If it has not, the job leaves it alone
// where the change covers only a part of it, and copies it later; what is covered is not copied any
// more.
void MirrorRun::written_through(const LayerChain& source, const LayerChain& attached,
                                std::uint64_t offset, std::uint64_t length, const Change& change) {
  // Whole clusters must come from the source where the backing file is attached only later.
  if (options_.sync == Sync::top && options_.header_backing && attached.empty())
    return source_changed(source, attached, offset, length);
  if (synced_) return change(current_, attached, offset, length);
  // Before READY a release may also leave it to the copying (11.1.3).
  std::vector<bool> all = dirty_;
  const std::vector<bool> granules = touched(offset, length);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = all[i] || granules[i];
  const Layer before = current_;
  Layer later = initial_;
  copy(later, source, attached, all);
  const std::uint64_t end = offset + length;
  std::uint64_t from = offset;
  std::uint64_t to = end;
  if (from % granularity_ != 0 && dirty_[from / granularity_])
    from = std::min(end, sim::align_up(from, granularity_));
  if (to % granularity_ != 0 && dirty_[to / granularity_])
    to = std::max(from, sim::align_down(to, granularity_));
  for (std::uint64_t at = sim::align_up(from, granularity_); at + granularity_ <= to;
       at += granularity_)
    dirty_[at / granularity_] = false;
  change(whole_, attached, offset, length);
  Layer after = current_;
  change(after, attached, offset, length);
  if (from < to) {
    change(initial_, attached, from, to - from);
    change(current_, attached, from, to - from);
  }
  Layer copied = initial_;
  copy(copied, source, attached, dirty_);
  for (const Layer& other : {before, after, copied, later}) merge(current_, other);
  for (const Layer& other : {copied, later}) merge(whole_, other);
  through_ = true;
}

void MirrorRun::synced(const LayerChain& source, const LayerChain& attached) {
  if (synced_) return;
  current_ = through_ ? whole_ : initial_;
  if (!through_) copy(current_, source, attached, dirty_);
  synced_ = true;
  pending_.assign(dirty_.size(), false);
  was_zero_.assign(dirty_.size(), false);
}

void MirrorRun::copy(Layer& onto, const LayerChain& source, const LayerChain& attached,
                     const std::vector<bool>& dirty) const {
  Copy pass{*this, onto, source, attached, dirty};
  if (onto.unit() > granularity_)
    pass.by_cluster();
  else
    pass.by_granule();
}

}  // namespace conformance::model
