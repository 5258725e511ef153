// The refcount recount: what `qemu-img check` does without -r.  The order of the findings and
// what counts as one follow its results, measured in inspect_test.cc.

#include <algorithm>

#include <fmt/format.h>
#include "conformance/inspect/qcow2.h"
#include "sim/base/bytes.h"

namespace conformance::inspect {

namespace {

constexpr std::size_t kMostDetails = 20;
constexpr std::uint64_t kMostClusters = std::uint64_t{1} << 24;

class Recount {
 public:
  Recount(const Files& files, const std::string& path, std::uint64_t file_size,
          const Qcow2Header& header, const Qcow2Tables& tables, const Qcow2Snapshots& snapshots)
      : files_(files),
        path_(path),
        file_size_(file_size),
        header_(header),
        tables_(tables),
        snapshots_(snapshots),
        cluster_(header.cluster_size()),
        clusters_(sim::div_up(file_size, cluster_)),
        references_(clusters_, 0) {}

  sim::Result<CheckResult> run() {
    TRY_OK(read_refcounts());
    count(0, cluster_, "the header");
    count_guest_data(header_.l1_offset, header_.l1_size, tables_);
    for (const Qcow2Snapshot& snapshot : snapshots_.all)
      count_guest_data(snapshot.l1_offset, snapshot.l1_size, snapshot.tables);
    if (header_.encrypted) count(header_.luks_offset, header_.luks_length, "the LUKS area");
    count(header_.snapshots_offset, snapshots_.table_length, "the snapshot table");
    count(header_.refcount_table_offset, header_.refcount_table_clusters * cluster_,
          "the refcount table");
    count_refcount_blocks();
    compare();
    check_copied_bits();
    return std::move(result_);
  }

 private:
  void corruption(const std::string& detail) {
    ++result_.corruptions;
    if (result_.details.size() < kMostDetails) result_.details.push_back(detail);
  }
  void leak(const std::string& detail) {
    ++result_.leaks;
    if (result_.details.size() < kMostDetails) result_.details.push_back(detail);
  }

  sim::Result<> read_refcounts();
  void count(std::uint64_t offset, std::uint64_t length, std::string_view what);
  void count_guest_data(std::uint64_t l1_offset, std::uint32_t l1_size, const Qcow2Tables& tables);
  void count_refcount_blocks();
  void compare();
  void check_copied_bits();
  void check_copied_bit(std::uint64_t entry, std::string_view what, std::uint64_t index);
  std::uint64_t recorded(std::uint64_t cluster) const {
    return cluster < clusters_ ? recorded_[cluster] : 0;
  }

  const Files& files_;
  const std::string& path_;
  std::uint64_t file_size_;
  const Qcow2Header& header_;
  const Qcow2Tables& tables_;
  const Qcow2Snapshots& snapshots_;
  std::uint64_t cluster_;
  std::uint64_t clusters_;                 // in the file
  std::vector<std::uint32_t> references_;  // found, by cluster
  std::vector<std::uint64_t> recorded_;    // by the file's refcount blocks
  std::vector<std::uint64_t> blocks_;      // the refcount table
  CheckResult result_;
};

// One refcount of a block: big-endian from 8 bits on, packed from the low end of each byte below.
std::uint64_t refcount_at(sim::Bytes block, std::uint64_t index, unsigned order) {
  switch (order) {
    case 3:
      return sim::load_be<std::uint8_t>(block, index);
    case 4:
      return sim::load_be<std::uint16_t>(block, 2 * index);
    case 5:
      return sim::load_be<std::uint32_t>(block, 4 * index);
    case 6:
      return sim::load_be<std::uint64_t>(block, 8 * index);
    default:
      break;
  }
  const unsigned bits = 1U << order;
  const std::uint64_t bit = index * bits;
  const auto byte = std::to_integer<unsigned>(block[bit / 8]);
  return (byte >> (bit % 8)) & ((1U << bits) - 1);
}

sim::Result<> Recount::read_refcounts() {
  TRY(blocks_, read_entries(files_, path_, header_.refcount_table_offset,
                            header_.refcount_table_clusters * cluster_ / 8));
  recorded_.assign(clusters_, 0);
  const std::uint64_t per_block = cluster_ * 8 >> header_.refcount_order;
  std::vector<std::byte> block;
  for (std::uint64_t i = 0; i < blocks_.size() && i * per_block < clusters_; ++i) {
    const std::uint64_t offset = blocks_[i] & ~std::uint64_t{511};
    if (offset == 0 || !sim::is_aligned(offset, cluster_) || offset >= file_size_) continue;
    const std::uint64_t used = std::min(per_block, clusters_ - i * per_block);
    block.resize(sim::div_up(used << header_.refcount_order, 8));
    TRY_OK(files_.read(path_, offset, block));
    for (std::uint64_t k = 0; k < used; ++k)
      recorded_[i * per_block + k] = refcount_at(block, k, header_.refcount_order);
  }
  return sim::ok();
}

// Counts a reference to each cluster of the range.  The file may end within its last cluster.
void Recount::count(std::uint64_t offset, std::uint64_t length, std::string_view what) {
  if (length == 0) return;
  const std::uint64_t end = offset + length;
  if (end > file_size_ && end - file_size_ >= cluster_)
    return corruption(fmt::format("{} at {:#x} lies beyond the end of the file", what, offset));
  for (std::uint64_t i = offset / cluster_; i <= (end - 1) / cluster_; ++i)
    if (i < clusters_) ++references_[i];
}

void Recount::count_guest_data(std::uint64_t l1_offset, std::uint32_t l1_size,
                               const Qcow2Tables& tables) {
  count(l1_offset, std::uint64_t{l1_size} * 8, "the L1 table");
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < tables.l1.size(); ++i) {
    const std::uint64_t entry = tables.l1[i];
    if (entry == 0) continue;
    const std::uint64_t offset = entry & kOffsetMask;
    if (entry & ~(kOffsetMask | kCopied))
      corruption(fmt::format("L1 entry {} has reserved bits set: {:#x}", i, entry));
    count(offset, cluster_, "an L2 table");
    if (!sim::is_aligned(offset, cluster_))
      corruption(fmt::format("L1 entry {} is not aligned: {:#x}", i, entry));
    if (next == tables.l2.size() || tables.l2[next].l1_index != i) continue;
    const Qcow2Tables::L2& table = tables.l2[next++];
    const std::uint64_t reserved =
        ~(kOffsetMask | kCopied | (header_.version >= 3 ? kReadsAsZero : 0));
    for (std::size_t k = 0; k < table.entries.size(); ++k) {
      const std::uint64_t data = table.entries[k];
      if (data == 0) continue;
      if (data & reserved)
        corruption(fmt::format("L2 entry {}.{} has reserved bits set: {:#x}", i, k, data));
      const std::uint64_t host = data & kOffsetMask;
      if (host == 0) continue;
      if (sim::is_aligned(host, cluster_))
        count(host, cluster_, "a data cluster");
      else
        corruption(fmt::format("L2 entry {}.{} is not aligned: {:#x}", i, k, data));
    }
  }
}

void Recount::count_refcount_blocks() {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::uint64_t offset = blocks_[i] & ~std::uint64_t{511};
    if (blocks_[i] == 0) continue;
    if (!sim::is_aligned(blocks_[i], cluster_)) {
      corruption(fmt::format("refcount block {} is not aligned: {:#x}", i, blocks_[i]));
      continue;
    }
    if (offset / cluster_ >= clusters_) {
      corruption(fmt::format("refcount block {} lies beyond the end of the file", i));
      continue;
    }
    count(offset, cluster_, "a refcount block");
    if (references_[offset / cluster_] != 1)
      corruption(
          fmt::format("refcount block {} has {} references", i, references_[offset / cluster_]));
  }
}

void Recount::compare() {
  for (std::uint64_t i = 0; i < clusters_; ++i) {
    if (recorded_[i] == references_[i]) continue;
    const std::string detail =
        fmt::format("cluster {} has refcount {}, references {}", i, recorded_[i], references_[i]);
    if (recorded_[i] < references_[i])
      corruption(detail);
    else
      leak(detail);
  }
}

// The COPIED bit says that the refcount is exactly one, so that writing in place is allowed.
void Recount::check_copied_bit(std::uint64_t entry, std::string_view what, std::uint64_t index) {
  const std::uint64_t refcount = recorded((entry & kOffsetMask) / cluster_);
  if ((refcount == 1) != ((entry & kCopied) != 0))
    corruption(fmt::format("COPIED is wrong for {} {}: {:#x} with refcount {}", what, index, entry,
                           refcount));
}

void Recount::check_copied_bits() {
  for (std::size_t i = 0; i < tables_.l1.size(); ++i)
    if ((tables_.l1[i] & kOffsetMask) != 0) check_copied_bit(tables_.l1[i], "L1 entry", i);
  for (const Qcow2Tables::L2& table : tables_.l2)
    for (std::size_t k = 0; k < table.entries.size(); ++k)
      if ((table.entries[k] & kOffsetMask) != 0) check_copied_bit(table.entries[k], "L2 entry", k);
}

}  // namespace

sim::Result<CheckResult> recount(const Files& files, const std::string& path,
                                 std::uint64_t file_size, const Qcow2Header& header,
                                 const Qcow2Tables& tables, const Qcow2Snapshots& snapshots) {
  if (sim::div_up(file_size, header.cluster_size()) > kMostClusters)
    return refuse(path, "the file has too many clusters to be checked here");
  return Recount(files, path, file_size, header, tables, snapshots).run();
}

}  // namespace conformance::inspect
