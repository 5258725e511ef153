// The image's tables (refcount table and blocks, L1, L2) as they pass through memory: small slices
// of the file, written back late and in an order that survives a power cut.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/metadata.h"
#include "sim/qcow2/observer.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// Slices are at most 4 KiB, so that an image of a few clusters never touches a whole table of
// 64 KiB.  A cut at any moment must leave at worst leaks, hence the order: what raises a count
// reaches the file before the entry that points there, what lowers one after the entry is gone.
// When both kinds are pending, the older is written back first.  While counts are deferred (the
// header says that they may be wrong) they have no order.
//
// With an Observer all is as QEMU's caches do it: a table is read as a whole when a part of it is
// asked for, and written as a whole; entries of the L1 and refcount tables reach the file at once;
// of the L2 tables and the refcount blocks either may have to be flushed before a table of the
// other is written.  Without one nobody can tell, and slices cost less.
//
// Not for several coroutines at once: the owner holds a lock around every call.
class Tables {
 public:
  enum class Kind : unsigned char { refcount_block, refcount_table, l2, l1 };
  enum class Order : unsigned char { any, refcounts_first, mappings_first };

  static constexpr std::uint64_t kSliceBytes = 4096;
  static constexpr std::size_t kCapacity = 1024;  // slices, 4 MiB

  struct Slice {
    std::uint64_t start = 0;  // byte of the file
    std::uint64_t last_used = 0;
    std::uint32_t dirty_first = 0, dirty_end = 0;  // bytes to write back; equal: none
    Kind kind = Kind::l2;
    Slice* next = nullptr;  // in its bucket
    std::size_t index = 0;  // in slices_
    std::array<std::byte, kSliceBytes> bytes;
  };

  Tables(storage::Storage& file, Geometry geometry);

  std::uint64_t slice_bytes() const { return slice_bytes_; }

  // Refuses tables beyond the end of the file, which else read as zeroes.
  void refuse_beyond_end(bool refuse) { refuse_beyond_end_ = refuse; }
  void defer_refcounts(bool defer) { defer_refcounts_ = defer; }
  bool defers_refcounts() const { return defer_refcounts_; }

  // Who is told what is about to happen; null: nobody.
  void observe(Observer* observer) { observer_ = observer; }
  bool observed() const { return observer_ != nullptr; }
  // Not without an observer.
  Task<void> tell(std::string_view moment) { return observer_->at(moment); }

  // What must not be overwritten; empty unless the owner fills it.
  Metadata& metadata() { return metadata_; }
  const Metadata& metadata() const { return metadata_; }

  // The slice that holds the byte at `at`, of a table of that kind.  Good until the next call of
  // slice() or a function that may call it.
  Task<Result<Slice*>> slice(HostOffset at, Kind kind);
  // The same if it is in memory; else null.
  Slice* find(HostOffset at);
  // Says that [first, first + length) of the slice has changed.
  void changed(Slice& slice, Kind kind, std::uint64_t first, std::uint64_t length);

  // One big-endian 64-bit entry at `at`, which is a multiple of 8.
  Task<Result<std::uint64_t>> entry(HostOffset at, Kind kind);
  Task<Result<>> set_entry(HostOffset at, std::uint64_t value, Kind kind);

  // Reads [start, start + bytes) as tables of that kind, in one request.
  Task<Result<>> load(HostOffset start, std::uint64_t bytes, Kind kind);
  // A new, empty table of one cluster, in the file at once unless it is observed.
  Task<Result<>> make_table(HostOffset start, Kind kind);
  // Makes `clusters` clusters of the file zero, at once: new, empty tables.
  Task<Result<>> make_zero(HostOffset start, std::uint64_t clusters);
  // Drops what is known of clusters that are tables no longer.
  void forget(HostOffset start, std::uint64_t clusters);

  // To be called when data was written that entries, set afterwards, will show: it reaches the file
  // before them.
  void data_written() { data_unflushed_ = true; }

  // The same for one that is observed: entries of L2 tables will show clusters that were counted
  // just now and, if it was `copied`, data that was.
  Task<void> observed_link(bool copied);

  // To be called before a change of counts: writes back what must go first.
  Task<Result<>> require(Order order);
  // Writes everything that has changed, in order, with a flush of the file between the stages.
  Task<Result<>> write_back();
  // The same, and flushes the file.
  Task<Result<>> flush();
  // The same without the counts; of the counts alone, if it is observed.
  Task<Result<>> flush_mappings();
  Task<Result<>> flush_refcounts() { return flush_cache(Cache::refcounts); }

 private:
  static constexpr std::size_t kBuckets = 1024;
  enum class Stage : unsigned char { refcounts, l2, l1 };

  Slice*& bucket(std::uint64_t start);
  void erase(Slice& slice);
  static Stage stage_of(Kind kind);
  Task<Result<>> write_stage(Stage stage);
  Task<Result<>> write_slice(Slice& slice);
  Task<Result<>> make_room();
  Slice& add_slice(std::unique_ptr<Slice> fresh);

  // observed_tables.cc
  enum class Cache : unsigned char { l2, refcounts };
  struct CacheState {
    bool depends_on_other = false, depends_on_flush = false;
  };
  static Cache other(Cache cache) { return cache == Cache::l2 ? Cache::refcounts : Cache::l2; }
  CacheState& state(Cache cache) { return caches_[static_cast<std::size_t>(cache)]; }
  Task<Result<>> load_table(HostOffset at, Kind kind);
  Task<Result<>> store_now(HostOffset at, std::uint64_t value, Kind kind);
  Task<Result<>> write_cache(Cache cache);
  Task<Result<>> flush_cache(Cache cache);
  Task<Result<>> flush_dependency(Cache cache);
  Task<Result<>> write_table(Slice& slice);
  Task<void> depend(Cache cache);  // on the other

  storage::Storage& file_;
  Geometry geometry_;
  std::uint64_t slice_bytes_;
  Metadata metadata_;
  std::vector<std::unique_ptr<Slice>> slices_;  // in no order
  std::array<Slice*, kBuckets> buckets_{};
  std::uint64_t uses_ = 0;
  Order order_ = Order::any;
  bool unflushed_ = false;       // a stage was written since the file was flushed
  bool data_unflushed_ = false;  // so was data that entries are to show
  bool refuse_beyond_end_ = false;
  bool defer_refcounts_ = false;
  Observer* observer_ = nullptr;
  std::array<CacheState, 2> caches_;
};

}  // namespace sim::qcow2
