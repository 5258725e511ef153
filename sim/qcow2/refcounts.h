// Which host clusters are in use, and where the next ones come from.
//
// The order in which clusters are handed out is QEMU's, so that the same guest writes give the same
// file: a cursor at the lowest cluster that may be free, the first run that fits, the cursor behind
// it; holes that were too small are not visited again until something below is freed.

#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/tables.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// Refcount widths of 1 to 64 bits.  The owner holds a lock around every call.
class Refcounts {
 public:
  // All are referred to; the header's refcount table fields are updated when the table moves.
  Refcounts(storage::Storage& file, Tables& tables, Header& header);

  // Takes `clusters` adjacent free clusters; their counts become 1.  EFBIG beyond the 56 bits that
  // an entry can hold.
  Task<Result<HostCluster>> allocate(std::uint64_t clusters);
  // Takes as many of `clusters` as are free from `first` on, perhaps none; returns how many.
  Task<Result<std::uint64_t>> allocate_at(HostCluster first, std::uint64_t clusters);
  // Takes `bytes` bytes (at least 1, less than a cluster) at any place, behind those that were
  // taken last if they fit there; the count of each host cluster that they touch is raised by 1.
  Task<Result<HostOffset>> allocate_bytes(std::uint64_t bytes);
  // Lowers the counts of `clusters` clusters; with `discard` the space of those that reach 0 goes
  // back to the file.  EINVAL if a count is 0 already.
  Task<Result<>> release(HostCluster first, std::uint64_t clusters, bool discard);

  // Raises the counts of `clusters` clusters, all or none; EINVAL if one is as high as it can be.
  Task<Result<>> raise(HostCluster first, std::uint64_t clusters);

  Task<Result<std::uint64_t>> count(HostCluster cluster);

  // Puts a new refcount table at `start`, behind which nothing is in use, with the blocks that are
  // missing to count `clusters` clusters from there on.  Returns the cluster behind it.
  Task<Result<HostCluster>> reserve_area(HostCluster start, std::uint64_t clusters);
  // The last of the first `clusters` clusters that is in use.
  Task<Result<std::optional<HostCluster>>> last_in_use(std::uint64_t clusters);
  // Gives up the blocks that count nothing.
  Task<Result<>> drop_idle_blocks();

  // Where the counts are.
  struct Structures {
    HostOffset table;
    std::uint32_t table_clusters = 0;
    std::uint32_t order = 0;
  };
  // Makes all blocks and the table anew, in a width of 1 << order bits, and writes them.  EINVAL
  // if a count does not fit.  The old ones stay in use.
  Task<Result<Structures>> prepare_width(std::uint32_t order);
  // To be called when the header refers to what was prepared: from now on that counts, and the old
  // ones are given up.
  Task<Result<>> switch_width(Structures old);

 private:
  enum class Outcome : unsigned char { done, search_again };
  enum class Change : unsigned char { raise, lower };

  std::uint64_t per_block() const { return (geometry_.cluster_bytes() * 8) >> order_; }
  std::uint64_t entries_per_cluster() const {
    return geometry_.cluster_bytes() / format::kEntryBytes;
  }
  std::uint64_t table_entries() const;
  // The block that counts `cluster`; value 0: there is none, and the cluster is free.
  Task<Result<HostOffset>> block_of(HostCluster cluster);
  // The slice of `block` that holds the count of `cluster`, and which of its counts that is.
  struct Place {
    Tables::Slice* slice;
    std::uint64_t index;
  };
  Task<Result<Place>> place_of(HostOffset block, HostCluster cluster);
  std::uint64_t load(const Place& place) const;
  void store(const Place& place, std::uint64_t count);

  Task<Result<HostCluster>> find_run(std::uint64_t clusters);
  // Changes the counts of a range, making blocks where they are missing.  A block that was made may
  // lie where the caller wanted to allocate: then nothing has changed and it must search again.
  Task<Result<Outcome>> change(HostCluster first, std::uint64_t clusters, Change change);
  std::uint64_t change_some(Place place, HostCluster cluster, std::uint64_t most, Change change);
  Task<void> tell_load(HostCluster cluster, std::optional<std::uint64_t>& block);
  Task<Result<>> undo(HostCluster first, std::uint64_t clusters, Change done);
  Task<Result<>> make_block(HostCluster needed);
  Task<Result<>> grow_table(HostCluster needed, HostCluster new_block);
  Task<Result<HostCluster>> make_area(
      HostCluster start, std::uint64_t blocks, std::uint64_t entries,
      std::optional<std::pair<std::uint64_t, HostCluster>> new_block);
  template <class See>
  Task<Result<>> for_each_count(std::uint64_t first, std::uint64_t clusters, See see);
  Task<Result<bool>> allocate_blocks(std::uint32_t order, std::vector<std::uint64_t>& table);
  Task<Result<>> write_blocks(std::uint32_t order, const std::vector<std::uint64_t>& table);
  Task<Result<HostOffset>> write_table(HostOffset at, const std::vector<std::uint64_t>& table);
  Task<Result<>> check_table();
  Task<Result<bool>> is_idle(HostOffset block, std::uint64_t index);
  Task<Result<>> count_area(Bytes table, HostCluster start, HostCluster end);
  Task<Result<>> switch_table(HostCluster table, std::uint64_t clusters);

  storage::Storage& file_;
  Tables& tables_;
  Header& header_;
  Geometry geometry_;
  std::uint32_t order_;
  std::uint64_t cursor_ = 0;  // lowest host cluster that may be free
  // Behind the compressed data that was placed last, within a cluster; 0: at a cluster's end.
  // Forgotten when something else takes the cluster (QEMU 7.2 does not, and writes into it).
  HostOffset free_byte_;
};

}  // namespace sim::qcow2
