// The header cluster: fixed fields, extensions, backing file name.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// An extension this room does not know: kept, and written back when the header is.
struct UnknownExtension {
  std::uint32_t type = 0;
  std::vector<std::byte> data;
  friend bool operator==(const UnknownExtension&, const UnknownExtension&) = default;
};

// One row of the feature name table.
struct FeatureName {
  std::uint8_t set = 0;  // 0 incompatible, 1 compatible, 2 autoclear
  std::uint8_t bit = 0;
  std::string name;
  friend bool operator==(const FeatureName&, const FeatureName&) = default;
};

// spec, "Full disk encryption header pointer": where the LUKS header and key material are.
struct CryptoPointer {
  HostOffset offset;
  std::uint64_t length = 0;
  friend bool operator==(const CryptoPointer&, const CryptoPointer&) = default;
};

// spec, "Bitmaps extension".
struct BitmapsPointer {
  std::uint32_t count = 0;
  std::uint64_t directory_bytes = 0;
  HostOffset directory;
  friend bool operator==(const BitmapsPointer&, const BitmapsPointer&) = default;
};

struct Header {
  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 16;
  std::uint64_t size = 0;  // virtual size in bytes, as stored
  std::uint32_t crypt_method = 0;
  std::uint32_t l1_size = 0;  // entries
  HostOffset l1_table_offset;
  HostOffset refcount_table_offset;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t nb_snapshots = 0;
  HostOffset snapshots_offset;
  std::uint64_t incompatible_features = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t autoclear_features = 0;
  std::uint32_t refcount_order = 4;
  std::uint32_t header_length = 112;
  std::uint8_t compression_type = 0;
  std::vector<std::byte> unknown_fields;  // header bytes beyond 112

  std::string backing_file;    // empty: none
  std::string backing_format;  // empty: not stored
  std::string data_file;       // external data file's name as stored; empty: not stored
  std::optional<CryptoPointer> crypto;
  std::optional<BitmapsPointer> bitmaps;
  // There was a bitmaps extension, but the autoclear bit says that a writer did not know it: what
  // it names is leaked, and the extension goes when the image is opened for writing.
  bool drops_bitmaps = false;
  std::vector<FeatureName> feature_names;
  std::vector<UnknownExtension> unknown_extensions;

  // Feature bits by name (format.h has the rules).
  bool is_dirty() const { return (incompatible_features & format::kIncompatibleDirty) != 0; }
  bool is_corrupt() const { return (incompatible_features & format::kIncompatibleCorrupt) != 0; }
  bool has_data_file() const {
    return (incompatible_features & format::kIncompatibleDataFile) != 0;
  }
  bool has_extended_l2() const {
    return (incompatible_features & format::kIncompatibleExtendedL2) != 0;
  }
  bool has_lazy_refcounts() const {
    return (compatible_features & format::kCompatibleLazyRefcounts) != 0;
  }
  bool has_raw_data_file() const {
    return (autoclear_features & format::kAutoclearRawDataFile) != 0;
  }

  Geometry geometry() const { return {cluster_bits, has_extended_l2()}; }
};

// What a header is read for.
enum class HeaderUse : unsigned char {
  look,    // a corrupt image may be looked at
  change,  // an image that is marked corrupt is refused
  check,   // like look; QEMU also lets pass what a repair makes good: no refcount table, more
           // snapshots than it would open
};

// Reads a header from the first bytes of a file.  Nothing, without an error, if it needs more of
// the first cluster than `start` holds: call again with up to a whole cluster (at most 2 MiB).
// Bytes beyond the end of the file are zeroes.  Every field is checked as QEMU 7.2 does when it
// opens an image, in the same order and with its words.  A bitmaps extension whose autoclear bit is
// not set is checked and forgotten, as by QEMU.
Result<std::optional<Header>> parse_header(Bytes start, HeaderUse use);
inline Result<std::optional<Header>> parse_header(Bytes start, bool writable) {
  return parse_header(start, writable ? HeaderUse::change : HeaderUse::look);
}

// Reads the header of an open file: parse_header over as much of the first cluster as it needs.
Task<Result<Header>> read_header(storage::Storage& file, HeaderUse use);
inline Task<Result<Header>> read_header(storage::Storage& file, bool writable) {
  return read_header(file, writable ? HeaderUse::change : HeaderUse::look);
}

// The bytes of the header cluster up to the end of the backing name; the rest of the cluster is
// zero.  Extensions in QEMU's order.  Version 2 has room for neither features nor unknown fields.
// ENOSPC if they do not fit a cluster.
Result<std::vector<std::byte>> serialise_header(const Header& header);

}  // namespace sim::qcow2
