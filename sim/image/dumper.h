// The walk behind dump.h.  Each section has a file of its own: dump_header.cc, dump_refcounts.cc,
// dump_mapping.cc, dump_lists.cc, dump_clusters.cc.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/image/cluster_uses.h"
#include "sim/image/dump.h"
#include "sim/qcow2/l2_entry.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"

namespace sim::image {

// Text out of a file, for people and for JSON: what is not printable ASCII is escaped.
std::string escaped(Bytes bytes);
// "[3]", "[3..17]"
std::string index_range(std::uint64_t first, std::uint64_t count);

class Dumper {
 public:
  Dumper(storage::Storage& file, DumpRequest request, DumpSink& sink)
      : file_(file), request_(request), sink_(sink) {}

  Task<Result<Dumped>> run();

 private:
  // The header as it is stored, believed or not.
  struct Stored {
    std::uint64_t version = 0, backing_offset = 0, backing_bytes = 0, cluster_bits = 0, size = 0;
    std::uint64_t crypt_method = 0, l1_size = 0, l1_offset = 0, refcount_table = 0;
    std::uint64_t refcount_clusters = 0, snapshots = 0, snapshots_offset = 0;
    std::uint64_t incompatible = 0, compatible = 0, autoclear = 0, refcount_order = 4;
    std::uint64_t header_length = 72, compression = 0;
    std::uint64_t bitmaps = 0, bitmap_directory = 0, bitmap_directory_bytes = 0;
  };
  // One L1 table: the active one, or a snapshot's.
  struct Tree {
    std::uint64_t l1 = 0, entries = 0;
    std::string owner = {};  // "", "snapshot 1 "
    bool active() const { return owner.empty(); }
  };

  bool wants(DumpSection section) const {
    return !exhausted_ && !request_.at && !request_.guest &&
           (!request_.only || *request_.only == section);
  }
  // True if the uses of clusters are to be found out.
  bool traces() const {
    return request_.at ||
           (!request_.guest && (!request_.only || *request_.only == DumpSection::clusters));
  }
  void show(const DumpRecord& record);
  void begin(const DumpRecord& record);
  void note_problems(const DumpRecord& record);
  // Fills `into`; false if it cannot be read, which is a problem of `what`.
  Task<bool> read(std::uint64_t at, MutableBytes into, std::string what);
  // Says that [host, host + bytes) is used.
  void use(ClusterUse::Kind kind, std::uint64_t host, std::uint64_t bytes, const std::string& what);
  void describe_place(std::vector<std::string>& problems, std::uint64_t host,
                      std::uint64_t align) const;
  std::uint64_t cluster_bytes() const { return geometry_.cluster_bytes(); }
  bool has_data_file() const;

  // dump_header.cc
  Task<void> header();
  void field(Bytes start, const struct HeaderField& one, const Stored& stored);
  std::vector<std::string> field_problems(std::string_view name, std::uint64_t value) const;
  Task<void> extensions();
  Task<void> extension(std::uint32_t type, std::uint64_t at, std::uint32_t length);
  Task<void> backing_name();

  // dump_refcounts.cc
  Task<void> refcounts();
  Task<void> refcount_block(std::uint64_t index, std::uint64_t block);
  Task<std::optional<std::uint64_t>> count_of(std::uint64_t cluster);

  // dump_mapping.cc
  Task<void> l1(Tree tree);
  Task<void> l2_tables(Tree tree);
  Task<void> l2_table(const Tree& tree, std::uint64_t index, std::uint64_t table);
  struct Entry {
    std::uint64_t index = 0, count = 0;
    qcow2::L2Entry entry = {};
    bool wrong_copied = false;
  };
  bool continues(const Entry& run, const Entry& next) const;
  Task<bool> wrong_copied(const Tree& tree, std::uint64_t word, std::uint64_t host);
  void show_entries(const Tree& tree, std::uint64_t table, std::uint64_t guest, const Entry& run);
  std::string describe(const Entry& run, Json& fields) const;
  std::vector<std::string> entry_problems(const Entry& run) const;
  void use_entry(const Tree& tree, std::uint64_t guest, const Entry& run);
  Task<void> walk_guest();

  // dump_lists.cc
  Task<void> snapshots();
  Task<void> bitmaps();
  Task<void> bitmap_table(std::string name, std::uint64_t table, std::uint64_t entries);

  // dump_clusters.cc
  Task<void> clusters();
  void show_clusters(std::uint64_t first, std::uint64_t count, ClusterUse use,
                     std::optional<std::uint64_t> stored);

  // A hostile file makes this show its tables again and again.
  static constexpr std::uint64_t kRecordsMax = 1'000'000;
  static constexpr std::uint64_t kWorkMax = std::uint64_t{1} << 30;  // bytes read, about
  static constexpr std::uint64_t kClusterCost = 32;                  // of looking at one

  storage::Storage& file_;
  DumpRequest request_;
  DumpSink& sink_;
  Stored stored_;
  qcow2::Geometry geometry_;
  Dumped dumped_;
  std::uint64_t records_ = 0, work_ = 0;
  bool exhausted_ = false;
  std::vector<std::uint64_t> refcount_table_;  // entries
  std::vector<std::byte> block_;               // the refcount block that was used last
  std::uint64_t block_at_ = 0;                 // 0: none
  std::set<std::uint64_t> seen_tables_;        // L2 tables
  std::vector<Tree> trees_;                    // of the snapshots
  ClusterUses uses_;
};

}  // namespace sim::image
