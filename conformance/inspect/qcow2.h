// Reading one qcow2 file: header, tables, refcount recount.
//
// Versions 2 and 3, clusters of 512 bytes to 2 MiB, refcounts of 1 to 64 bits, standard L2 entries.
// Refused with a reason: compressed clusters, legacy encryption (AES), extended L2 entries,
// external data files, persistent bitmaps.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/inspect/content.h"
#include "conformance/inspect/image.h"
#include "conformance/inspect/luks.h"
#include "conformance/target/files.h"
#include "sim/base/result.h"

namespace conformance::inspect {

// The header's fields, host byte order, after all checks that opening makes.
struct Qcow2Header {
  int version = 0;
  unsigned cluster_bits = 0;
  std::uint64_t size = 0;
  std::uint32_t l1_size = 0;  // entries
  std::uint64_t l1_offset = 0;
  std::uint64_t refcount_table_offset = 0;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshot_count = 0;
  std::uint64_t snapshots_offset = 0;
  unsigned refcount_order = 4;  // a refcount has 1 << order bits
  std::uint32_t header_length = 0;
  std::string backing_file;
  std::string backing_format;
  // The data is encrypted: where the LUKS area lies and how long it is.
  bool encrypted = false;
  std::uint64_t luks_offset = 0;
  std::uint64_t luks_length = 0;

  std::uint64_t cluster_size() const { return std::uint64_t{1} << cluster_bits; }
};

sim::Result<Qcow2Header> read_qcow2_header(const Files& files, const std::string& path,
                                           std::uint64_t file_size);

// The tables that map the guest's disk.
struct Qcow2Tables {
  std::vector<std::uint64_t> l1;
  struct L2 {
    std::uint32_t l1_index = 0;
    std::uint64_t offset = 0;
    std::vector<std::uint64_t> entries;  // without the zeroes at its end
  };
  std::vector<L2> l2;  // those that can be read, by L1 index
};
sim::Result<Qcow2Tables> read_qcow2_tables(const Files& files, const std::string& path,
                                           std::uint64_t file_size, const Qcow2Header& header);

// An internal snapshot: what the guest's disk was, and maybe the machine's state behind its end.
struct Qcow2Snapshot {
  std::string id;
  std::string name;
  std::uint64_t l1_offset = 0;
  std::uint32_t l1_size = 0;    // entries
  std::uint64_t disk_size = 0;  // bytes
  Qcow2Tables tables;
};
struct Qcow2Snapshots {
  std::vector<Qcow2Snapshot> all;  // in the table's order
  std::uint64_t table_length = 0;  // bytes, from snapshots_offset on
};
sim::Result<Qcow2Snapshots> read_qcow2_snapshots(const Files& files, const std::string& path,
                                                 std::uint64_t file_size,
                                                 const Qcow2Header& header);

// What the guest's disk holds in this file; `key` is null where it is not encrypted.
sim::Result<Content> read_qcow2_content(const Files& files, const std::string& path,
                                        const Qcow2Header& header, const Qcow2Tables& tables,
                                        const SectorKey* key = nullptr);

// Counts every reference to every cluster anew and compares.
sim::Result<CheckResult> recount(const Files& files, const std::string& path,
                                 std::uint64_t file_size, const Qcow2Header& header,
                                 const Qcow2Tables& tables, const Qcow2Snapshots& snapshots = {});

// The parts of a table entry (L1 and standard L2).
inline constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
inline constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kReadsAsZero = 1;

// An Error "<path>: <reason>".
sim::Error refuse(const std::string& path, const std::string& reason);

// Big-endian 64 bit entries of a table in the file, without the zeroes at its end.
sim::Result<std::vector<std::uint64_t>> read_entries(const Files& files, const std::string& path,
                                                     std::uint64_t offset, std::uint64_t count);

}  // namespace conformance::inspect
