// The qcow2 file format: every constant and place of a field, once, with its rule.  Text and worked
// example: format.md.  All integers in the file are big-endian.
//
// Sources: the format's specification ("interop/qcow2" in QEMU's documentation), named "spec" here;
// limits that QEMU adds are named "QEMU".

#pragma once

#include <cstdint>

namespace sim::qcow2::format {

// spec, "Header": byte places of the fields.
namespace at {
inline constexpr std::size_t magic = 0;                     // 4
inline constexpr std::size_t version = 4;                   // 4
inline constexpr std::size_t backing_file_offset = 8;       // 8; 0: no backing file
inline constexpr std::size_t backing_file_size = 16;        // 4; bytes, without a NUL
inline constexpr std::size_t cluster_bits = 20;             // 4
inline constexpr std::size_t size = 24;                     // 8; virtual size in bytes
inline constexpr std::size_t crypt_method = 32;             // 4
inline constexpr std::size_t l1_size = 36;                  // 4; entries
inline constexpr std::size_t l1_table_offset = 40;          // 8
inline constexpr std::size_t refcount_table_offset = 48;    // 8
inline constexpr std::size_t refcount_table_clusters = 56;  // 4
inline constexpr std::size_t nb_snapshots = 60;             // 4
inline constexpr std::size_t snapshots_offset = 64;         // 8
inline constexpr std::size_t incompatible_features = 72;    // 8; from here on version 3
inline constexpr std::size_t compatible_features = 80;      // 8
inline constexpr std::size_t autoclear_features = 88;       // 8
inline constexpr std::size_t refcount_order = 96;           // 4
inline constexpr std::size_t header_length = 100;           // 4
inline constexpr std::size_t compression_type = 104;        // 1; 7 bytes of padding follow
}  // namespace at

inline constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI" and 0xfb

// spec: version 2 ends at byte 72; version 3 at 104 at least, a multiple of 8.  QEMU writes 112.
inline constexpr std::uint32_t kHeaderLength2 = 72;
inline constexpr std::uint32_t kHeaderLengthMin3 = 104;
inline constexpr std::uint32_t kHeaderLength = 112;

// spec: cluster_bits is at least 9; QEMU: at most 21.
inline constexpr std::uint32_t kClusterBitsMin = 9;
inline constexpr std::uint32_t kClusterBitsMax = 21;

// spec: a width of 1 << order bits, order at most 6; version 2 has 4.
inline constexpr std::uint32_t kRefcountOrderMax = 6;
inline constexpr std::uint32_t kRefcountOrderDefault = 4;

// QEMU: what it opens at most.
inline constexpr std::uint64_t kL1BytesMax = std::uint64_t{32} << 20;
inline constexpr std::uint64_t kRefcountTableBytesMax = std::uint64_t{8} << 20;
inline constexpr std::uint64_t kSnapshotsMax = 65536;
inline constexpr std::uint64_t kSnapshotHeaderBytes = 40;
inline constexpr std::uint64_t kSnapshotTableBytesMax = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kSnapshotExtraMax = 1024;
inline constexpr std::uint32_t kBackingNameMax = 1023;
inline constexpr std::uint32_t kBackingFormatMax = 16;  // QEMU: the text with its NUL

// spec, "crypt_method".
inline constexpr std::uint32_t kCryptNone = 0;
inline constexpr std::uint32_t kCryptAes = 1;   // legacy AES-CBC, without a header of its own
inline constexpr std::uint32_t kCryptLuks = 2;  // needs the encryption extension

// spec, "incompatible features": an unknown bit that is set forbids opening the image.
inline constexpr std::uint64_t kIncompatibleDirty = 1U << 0;        // refcounts may be wrong
inline constexpr std::uint64_t kIncompatibleCorrupt = 1U << 1;      // no writes but repairs
inline constexpr std::uint64_t kIncompatibleDataFile = 1U << 2;     // guest data elsewhere
inline constexpr std::uint64_t kIncompatibleCompression = 1U << 3;  // compression_type counts
inline constexpr std::uint64_t kIncompatibleExtendedL2 = 1U << 4;   // subclusters
inline constexpr std::uint64_t kIncompatibleKnown = 0x1f;
// spec, "compatible features": unknown bits are kept and ignored.
inline constexpr std::uint64_t kCompatibleLazyRefcounts = 1U << 0;
// spec, "autoclear features": a writer that does not know a bit clears it first.
inline constexpr std::uint64_t kAutoclearBitmaps = 1U << 0;
inline constexpr std::uint64_t kAutoclearRawDataFile = 1U << 1;

// spec, "Header extensions": type and length of 4 bytes each, data, padding to a multiple of 8.
namespace extension {
inline constexpr std::uint32_t end = 0;
inline constexpr std::uint32_t backing_format = 0xe2792aca;
inline constexpr std::uint32_t feature_names = 0x6803f857;
inline constexpr std::uint32_t bitmaps = 0x23852875;
inline constexpr std::uint32_t encryption = 0x0537be77;
inline constexpr std::uint32_t data_file = 0x44415441;
}  // namespace extension
inline constexpr std::size_t kExtensionHead = 8;
inline constexpr std::size_t kFeatureNameBytes = 48;     // set, bit, 46 bytes of name
inline constexpr std::size_t kCryptoPointerBytes = 16;   // offset, length: 8 bytes each
inline constexpr std::size_t kBitmapsPointerBytes = 24;  // count 4, zero 4, bytes 8, offset 8

// QEMU: at most this many bitmaps, each with a directory entry of 24 bytes and a name of 1000.
inline constexpr std::uint32_t kBitmapsMax = 65535;
inline constexpr std::uint64_t kBitmapDirectoryBytesMax = std::uint64_t{kBitmapsMax} * 1024;

// QEMU leaves the feature name table out of clusters smaller than this.
inline constexpr std::uint64_t kFeatureNamesClusterMin = 8192;

// spec, "Cluster mapping": entries of the L1 and L2 tables.
inline constexpr std::uint64_t kEntryBytes = 8;
inline constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;  // bits 9 to 55
inline constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;  // the refcount is exactly 1
inline constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kZero = 1;  // reads as zeroes

// spec, "Extended L2 Entries": 16 bytes, the second word is a bitmap of 32 subclusters: bit i is
// set if subcluster i is allocated, bit 32 + i if it reads as zeroes.
inline constexpr std::uint64_t kExtendedEntryBytes = 16;
inline constexpr std::uint32_t kSubclusters = 32;
inline constexpr std::uint64_t kAllZeroes = 0xffffffff00000000;  // of the bitmap
inline constexpr std::uint32_t kExtendedClusterBitsMin = 14;     // QEMU

// spec, "Refcount table": bits 9 to 63 are the offset of a block.
inline constexpr std::uint64_t kBlockOffsetMask = 0xfffffffffffffe00;
// An entry holds 56 bits of a host offset.
inline constexpr std::uint64_t kHostOffsetEnd = std::uint64_t{1} << 56;

// QEMU handles at most this much of an L2 table at a time; a request is split there.
inline constexpr std::uint64_t kL2StretchBytes = 65536;
// QEMU: an encrypted write is taken in pieces of at most this many clusters.
inline constexpr std::uint64_t kCryptClusters = 32;
// QEMU: zeroes that must be written as data are written at most so many at a time.
inline constexpr std::uint64_t kZeroBufferBytes = std::uint64_t{16} << 20;

inline constexpr std::uint64_t kSector = 512;  // virtual sizes are whole sectors
// QEMU: the largest size of any disk (its BDRV_MAX_LENGTH: 2^63 - 1, to a multiple of 1 GiB).
inline constexpr std::uint64_t kVirtualSizeMax = 0x7fffffffc0000000;

// spec, "Snapshots": byte places of an entry's fields; entries are padded to a multiple of 8.
namespace snapshot_at {
inline constexpr std::size_t l1_table_offset = 0;    // 8
inline constexpr std::size_t l1_size = 8;            // 4; entries
inline constexpr std::size_t id_size = 12;           // 2; bytes
inline constexpr std::size_t name_size = 14;         // 2; bytes
inline constexpr std::size_t date_seconds = 16;      // 4; since the epoch
inline constexpr std::size_t date_nanoseconds = 20;  // 4
inline constexpr std::size_t vm_clock = 24;          // 8; nanoseconds
inline constexpr std::size_t vm_state_size = 32;     // 4; bytes, if there is no longer one
inline constexpr std::size_t extra_size = 36;        // 4; bytes of the extra data that follows
// Places within the extra data.  Version 3 has the first two.
inline constexpr std::size_t extra_vm_state_size = 0;  // 8
inline constexpr std::size_t extra_disk_size = 8;      // 8
inline constexpr std::size_t extra_icount = 16;        // 8; all ones: not recorded
}  // namespace snapshot_at
inline constexpr std::uint64_t kSnapshotExtraBytes = 24;  // what QEMU writes

// spec, "Bitmap directory": fields of an entry; extra data, the name and padding to 8 follow.
namespace bitmap_at {
inline constexpr std::size_t table_offset = 0;       // 8; aligned to clusters
inline constexpr std::size_t table_size = 8;         // 4; entries
inline constexpr std::size_t flags = 12;             // 4
inline constexpr std::size_t type = 16;              // 1; 1: dirty tracking
inline constexpr std::size_t granularity_bits = 17;  // 1
inline constexpr std::size_t name_size = 18;         // 2; bytes, without a NUL
inline constexpr std::size_t extra_data_size = 20;   // 4
}  // namespace bitmap_at
inline constexpr std::size_t kBitmapHeadBytes = 24;
inline constexpr std::uint32_t kBitmapInUse = 1U << 0;  // not saved cleanly
inline constexpr std::uint32_t kBitmapAuto = 1U << 1;   // every write is recorded
inline constexpr std::uint32_t kBitmapExtraCompatible = 1U << 2;
inline constexpr std::uint8_t kBitmapDirtyTracking = 1;
// QEMU: 512 bytes to 2 GiB a bit; names; the bits of one bitmap, in bytes.
inline constexpr std::uint8_t kBitmapGranularityBitsMin = 9;
inline constexpr std::uint8_t kBitmapGranularityBitsMax = 31;
inline constexpr std::size_t kBitmapNameMax = 1023;
inline constexpr std::uint64_t kBitmapBytesMax = std::uint64_t{512} << 20;
inline constexpr std::uint64_t kBitmapTableEntriesMax = std::uint64_t{128} << 20;
// spec, "Bitmap table": offset in bits 9 to 55; without one, bit 0 says that all bits are set.
inline constexpr std::uint64_t kBitmapAllOnes = 1;

}  // namespace sim::qcow2::format
