// One pass of a check over an image file; check.h is the door.
//
// The order of the stages, of what they say and of what they change is that of QEMU 7.2 (measured),
// so that numbers and lines are the same for the same damage.  The stages are in files of their
// own: references.cc counts, recount.cc compares, copied.cc looks at the COPIED flags, rebuild.cc
// makes new refcount structures; snapshot_check.cc is about the snapshot table.

#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/check.h"
#include "sim/qcow2/cluster_counts.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/snapshot.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"

namespace sim::qcow2 {

class Checker {
 public:
  // All are referred to.  The header's refcount table fields follow when the table moves.
  Checker(storage::Storage& file, Header& header, const CheckOptions& options);

  Task<Result<CheckResult>> run();

 private:
  enum class Tree : unsigned char { active, snapshot };

  template <class... Args>
  void say(fmt::format_string<Args...> text, Args&&... args) {
    spend(kFindingCost);
    if (options_.finding) options_.finding(fmt::format(text, std::forward<Args>(args)...));
  }
  bool repairs_leaks() const { return repair_ != Repair::none; }
  bool repairs_all() const { return repair_ == Repair::all; }

  // A hostile file makes a check visit its tables again and again: work is bounded, and so is what
  // the counts may take.
  static constexpr std::uint64_t kFindingCost = 512;
  void spend(std::uint64_t bytes) { work_ += bytes; }
  static constexpr std::uint64_t kWorkMax = std::uint64_t{8} << 30;
  static constexpr std::uint64_t kMemoryMax = 160_MiB;
  static constexpr std::uint64_t kRepeatedBytes = 96;       // of a table in repeated_, about
  static constexpr std::uint64_t kClustersMax = INT32_MAX;  // QEMU
  Result<> within_bounds() const;

  std::uint64_t per_block() const { return (geometry_.cluster_bytes() * 8) >> order_; }

  // snapshot_check.cc
  Task<Result<>> read_snapshots();
  Task<Result<>> repair_snapshots();

  // references.cc
  Task<Result<>> count_references();
  Task<Result<>> count_l1(std::uint64_t at, std::uint64_t entries, Tree tree);
  Task<Result<>> count_l1_part(Bytes part, Tree tree);
  Task<Result<>> count_l2_table(std::uint64_t at, Tree tree);
  Task<Result<bool>> read_l2(std::uint64_t at);
  Task<Result<>> count_l2(std::uint64_t at, Tree tree);
  Task<Result<>> count_l2_entry(std::uint64_t at, std::uint64_t index, Tree tree);
  void count_data(std::uint64_t offset, Tree tree);
  std::uint64_t count_sequence(std::uint64_t place, std::uint64_t entry, Tree tree);
  void count_compressed(std::uint64_t index, std::uint64_t entry, std::uint64_t bitmap, Tree tree);
  Task<Result<bool>> repaired_by_zero(std::uint64_t at, std::uint64_t index);
  Task<Result<>> count_repeated_tables();
  Task<Result<>> count_snapshots();
  Task<Result<>> count_bitmaps();
  Task<Result<>> count_bitmap(std::uint64_t at, std::uint64_t entries);
  Task<Result<>> count_refcount_blocks();
  Task<Result<>> count_block_outside(std::uint64_t index, std::uint64_t offset);
  void refer(std::uint64_t offset, std::uint64_t bytes, std::uint64_t times = 1);
  void refer_cluster(std::uint64_t cluster, std::uint64_t times);

  // recount.cc
  Task<Result<>> read_refcount_table();
  Task<Result<bool>> read_block(std::uint64_t index);
  Task<Result<std::optional<std::uint64_t>>> stored_count(std::uint64_t cluster);
  // Compares what is stored with what was counted.  With `adopt` the counts become what is stored
  // in the end.
  Task<Result<>> compare(Repair fix, bool adopt);
  Task<Result<>> compare_block(std::uint64_t index, Repair fix, bool adopt);
  bool same_page(std::uint64_t cluster, std::uint64_t block_first) const;
  Bytes stored_part(std::uint64_t first, std::uint64_t counts) const;
  bool mismatch(std::uint64_t cluster, std::uint64_t stored, std::uint64_t counted, Repair fix);
  Task<Result<>> discard_freed();

  // copied.cc
  static constexpr std::uint64_t kL1Part = 8192;  // entries that are read at once
  Task<Result<std::optional<std::uint64_t>>> count_at(std::uint64_t offset);
  std::optional<std::uint64_t> known_count(std::uint64_t cluster) const;
  bool right_copied(std::uint64_t word) const;
  Task<Result<>> check_copied();
  Task<Result<>> read_l1_part(std::uint64_t first);
  Task<Result<>> check_copied_l2(std::uint64_t at, bool repair);

  // rebuild.cc
  std::uint64_t take(std::uint64_t clusters, std::uint64_t& from);
  Result<> plan_blocks(std::uint64_t first, std::uint64_t end, std::vector<std::uint64_t>& table);
  Task<Result<>> rebuild();
  Task<Result<>> rebuild_and_recount();

  storage::Storage& file_;
  Header& header_;
  const CheckOptions& options_;
  Repair repair_;  // of the present stage
  Geometry geometry_;
  std::uint32_t order_;
  std::uint64_t file_bytes_;
  std::uint64_t work_ = 0;
  CheckResult result_;
  std::vector<std::uint64_t> refcount_table_;
  ClusterCounts counts_;
  bool must_rebuild_ = false;
  std::uint64_t end_ = 1;  // clusters up to the last one in use, the header at least
  std::vector<Snapshot> snapshots_;
  std::uint64_t snapshot_table_bytes_ = 0;
  std::uint64_t snapshot_corruptions_ = 0;  // of the table, counted apart as QEMU does
  std::vector<bool> unreadable_;            // refcount blocks
  bool any_unreadable_ = false;
  bool told_unaligned_ = false;
  bool shared_ = false;      // a cluster was counted more than once
  bool uncopied_ = false;    // an entry that refers to a cluster has no COPIED
  std::uint64_t times_ = 1;  // how often the table at hand is counted
  std::vector<std::byte> l1_, l2_, block_;
  std::uint64_t l2_at_ = UINT64_MAX;        // what l2_ holds
  std::uint64_t block_index_ = UINT64_MAX;  // what block_ holds
  std::vector<std::uint64_t> freed_;        // clusters whose space goes back

  // An L2 table without a finding that is reached again and again is looked at twice.
  struct Repeated {
    std::uint64_t times = 0;  // not counted yet
    std::uint64_t allocated = 0, fragmented = 0, compressed = 0;
  };
  std::map<std::uint64_t, Repeated> repeated_;
  std::uint64_t next_contiguous_ = 0;  // where unfragmented data would go on
};

}  // namespace sim::qcow2
