#include "sim/qcow2/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "sim/qcow2/format.h"

namespace sim::qcow2 {

namespace {

Error invalid(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

std::string text_of(Bytes bytes) {  // up to a NUL
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.find('\0'));
}

// Where the name and the extensions are, and how far they may go.
struct Places {
  std::uint64_t backing_offset = 0;
  std::uint32_t backing_size = 0;
  std::uint64_t extensions_end = 0;
};

enum class Walk : unsigned char { done, needs_more };

void parse_version_3(Bytes start, Header& header) {
  header.incompatible_features = load_be<std::uint64_t>(start, format::at::incompatible_features);
  header.compatible_features = load_be<std::uint64_t>(start, format::at::compatible_features);
  header.autoclear_features = load_be<std::uint64_t>(start, format::at::autoclear_features);
  header.refcount_order = load_be<std::uint32_t>(start, format::at::refcount_order);
  header.header_length = load_be<std::uint32_t>(start, format::at::header_length);
  if (header.header_length > format::at::compression_type)
    header.compression_type = std::to_integer<std::uint8_t>(start[format::at::compression_type]);
}

// The fields up to where the extensions lie.
Result<Header> parse_fields(Bytes start, Places& places) {
  Header header;
  if (load_be<std::uint32_t>(start, format::at::magic) != format::kMagic)
    return invalid("Image is not in qcow2 format");
  header.version = load_be<std::uint32_t>(start, format::at::version);
  if (header.version < 2 || header.version > 3)
    return invalid(fmt::format("Unsupported qcow2 version {}", header.version), ENOTSUP);
  header.cluster_bits = load_be<std::uint32_t>(start, format::at::cluster_bits);
  if (header.cluster_bits < format::kClusterBitsMin ||
      header.cluster_bits > format::kClusterBitsMax)
    return invalid(fmt::format("Unsupported cluster size: 2^{}", header.cluster_bits));
  header.size = load_be<std::uint64_t>(start, format::at::size);
  header.crypt_method = load_be<std::uint32_t>(start, format::at::crypt_method);
  header.l1_size = load_be<std::uint32_t>(start, format::at::l1_size);
  header.l1_table_offset = {load_be<std::uint64_t>(start, format::at::l1_table_offset)};
  header.refcount_table_offset = {load_be<std::uint64_t>(start, format::at::refcount_table_offset)};
  header.refcount_table_clusters =
      load_be<std::uint32_t>(start, format::at::refcount_table_clusters);
  header.nb_snapshots = load_be<std::uint32_t>(start, format::at::nb_snapshots);
  header.snapshots_offset = {load_be<std::uint64_t>(start, format::at::snapshots_offset)};
  header.header_length = format::kHeaderLength2;
  const std::uint64_t cluster = header.geometry().cluster_bytes();
  if (header.version == 3) {
    parse_version_3(start, header);
    if (header.header_length < format::kHeaderLengthMin3) return invalid("qcow2 header too short");
    if (header.header_length > cluster) return invalid("qcow2 header exceeds cluster size");
  }
  places.backing_offset = load_be<std::uint64_t>(start, format::at::backing_file_offset);
  places.backing_size = load_be<std::uint32_t>(start, format::at::backing_file_size);
  if (places.backing_offset > cluster) return invalid("Invalid backing file offset");
  places.extensions_end = places.backing_offset != 0 ? places.backing_offset : cluster;
  return header;
}

void parse_feature_names(Bytes data, Header& header) {
  header.feature_names.clear();
  for (; data.size() >= format::kFeatureNameBytes; data = data.subspan(format::kFeatureNameBytes))
    header.feature_names.push_back({std::to_integer<std::uint8_t>(data[0]),
                                    std::to_integer<std::uint8_t>(data[1]),
                                    text_of(data.first(format::kFeatureNameBytes).subspan(2))});
}

Result<> parse_crypto(Bytes data, Header& header) {
  if (header.crypt_method != format::kCryptLuks)
    return invalid("CRYPTO header extension only expected with LUKS encryption method");
  if (data.size() != format::kCryptoPointerBytes)
    return invalid(fmt::format("CRYPTO header extension size {}, but expected size {}", data.size(),
                               format::kCryptoPointerBytes));
  const CryptoPointer pointer{.offset = {load_be<std::uint64_t>(data, 0)},
                              .length = load_be<std::uint64_t>(data, 8)};
  if (header.geometry().within(pointer.offset) != 0)
    return invalid(
        fmt::format("Encryption header offset '{}' is not a multiple of cluster size '{}'",
                    pointer.offset.value, header.geometry().cluster_bytes()));
  header.crypto = pointer;
  return ok();
}

// QEMU: without the autoclear bit, as always in version 2, somebody has changed the image who did
// not know of bitmaps; then there are none.
Result<> parse_bitmaps(Bytes data, Header& header) {
  if (data.size() != format::kBitmapsPointerBytes)
    return invalid("bitmaps_ext: Invalid extension length");
  if ((header.autoclear_features & format::kAutoclearBitmaps) == 0) {
    header.drops_bitmaps = true;
    return ok();
  }
  if (load_be<std::uint32_t>(data, 4) != 0)
    return invalid("bitmaps_ext: Reserved field is not zero");
  const BitmapsPointer pointer{.count = load_be<std::uint32_t>(data, 0),
                               .directory_bytes = load_be<std::uint64_t>(data, 8),
                               .directory = {load_be<std::uint64_t>(data, 16)}};
  if (pointer.count > format::kBitmapsMax)
    return invalid(
        fmt::format("bitmaps_ext: Image has {} bitmaps, exceeding the QEMU supported maximum of {}",
                    pointer.count, format::kBitmapsMax));
  if (pointer.count == 0) return invalid("found bitmaps extension with zero bitmaps");
  if (header.geometry().within(pointer.directory) != 0)
    return invalid("bitmaps_ext: invalid bitmap directory offset");
  if (pointer.directory_bytes > format::kBitmapDirectoryBytesMax)
    return invalid(fmt::format(
        "bitmaps_ext: bitmap directory size ({}) exceeds the maximum supported size ({})",
        pointer.directory_bytes, format::kBitmapDirectoryBytesMax));
  header.bitmaps = pointer;
  return ok();
}

// QEMU: of an extension that is there twice, the last counts.
Result<> parse_extension(std::uint32_t type, Bytes data, Header& header) {
  switch (type) {
    case format::extension::backing_format:
      if (data.size() >= format::kBackingFormatMax)
        return invalid(fmt::format("ERROR: ext_backing_format: len={} too large (>={})",
                                   data.size(), format::kBackingFormatMax));
      header.backing_format = text_of(data);
      return ok();
    case format::extension::feature_names:
      parse_feature_names(data, header);
      return ok();
    case format::extension::encryption:
      return parse_crypto(data, header);
    case format::extension::bitmaps:
      return parse_bitmaps(data, header);
    case format::extension::data_file:
      header.data_file = text_of(data);
      return ok();
    default:
      header.unknown_extensions.push_back({type, {data.begin(), data.end()}});
      return ok();
  }
}

// Walks the extensions into `header`.
Result<Walk> parse_extensions(Bytes start, const Places& places, Header& header) {
  std::uint64_t at = header.header_length;
  const std::uint64_t end = places.extensions_end;
  while (at < end) {
    if (end - at < format::kExtensionHead) return invalid("Header extension too large");
    if (at + format::kExtensionHead > start.size()) return Walk::needs_more;
    const auto type = load_be<std::uint32_t>(start, at);
    const auto length = load_be<std::uint32_t>(start, at + 4);
    at += format::kExtensionHead;
    if (length > end - at) return invalid("Header extension too large");
    if (type == format::extension::end) break;
    if (at + length > start.size()) return Walk::needs_more;
    TRY_OK(parse_extension(type, start.subspan(at, length), header));
    at += align_up(length, 8);
  }
  return Walk::done;
}

// The names of unknown incompatible features, as the image's own table gives them.
Error unsupported(const Header& header) {
  std::uint64_t mask = header.incompatible_features & ~format::kIncompatibleKnown;
  std::string names;
  const auto add = [&names](const std::string& name) {
    if (!names.empty()) names += ", ";
    names += name;
  };
  for (const FeatureName& feature : header.feature_names) {
    if (feature.set != 0 || feature.bit > 63 || (mask >> feature.bit & 1) == 0) continue;
    add(feature.name);
    mask &= ~(std::uint64_t{1} << feature.bit);
  }
  if (mask != 0) add(fmt::format("Unknown incompatible feature: {:x}", mask));
  return invalid("Unsupported qcow2 feature(s): " + names, ENOTSUP);
}

Result<> check_compression(const Header& header) {
  const bool typed = (header.incompatible_features & format::kIncompatibleCompression) != 0;
  if (header.compression_type > 1)
    return invalid(fmt::format("qcow2: unknown compression type: {}", header.compression_type),
                   ENOTSUP);
  if (header.compression_type == 0 && typed)
    return invalid("qcow2: Compression type incompatible feature bit must not be set");
  if (header.compression_type != 0 && !typed)
    return invalid("qcow2: Compression type incompatible feature bit must be set");
  return ok();
}

Result<> check_features(const Header& header, HeaderUse use) {
  if (use == HeaderUse::change && header.is_corrupt())
    return invalid("qcow2: Image is corrupt; cannot be opened read/write", EACCES);
  if (header.has_extended_l2() && header.cluster_bits < format::kExtendedClusterBitsMin)
    return invalid(
        fmt::format("Unsupported subcluster size: {}", header.geometry().subcluster_bytes()));
  if (header.refcount_order > format::kRefcountOrderMax)
    return invalid("Reference count entry width too large; may not exceed 64 bits");
  return ok();
}

// A table of `bytes` bytes at `offset`.
Result<> check_table(const Header& header, HostOffset offset, std::uint64_t bytes,
                     std::uint64_t bytes_max, std::string_view name) {
  if (bytes > bytes_max) return invalid(fmt::format("{} too large", name), EFBIG);
  if (offset.value > std::numeric_limits<std::int64_t>::max() - bytes ||
      header.geometry().within(offset) != 0)
    return invalid(fmt::format("{} offset invalid", name));
  return ok();
}

Result<> check_tables(const Header& header, HeaderUse use) {
  const Geometry geometry = header.geometry();
  if (header.refcount_table_clusters == 0 && use != HeaderUse::check)
    return invalid("Image does not contain a reference count table");
  TRY_OK(check_table(header, header.refcount_table_offset,
                     header.refcount_table_clusters * geometry.cluster_bytes(),
                     format::kRefcountTableBytesMax, "Reference count table"));
  if (use != HeaderUse::check)  // which looks for itself
    TRY_OK(check_table(header, header.snapshots_offset,
                       header.nb_snapshots * format::kSnapshotHeaderBytes,
                       format::kSnapshotsMax * format::kSnapshotHeaderBytes, "Snapshot table"));
  TRY_OK(check_table(header, header.l1_table_offset, header.l1_size * format::kEntryBytes,
                     format::kL1BytesMax, "Active L1 table"));
  const std::uint64_t needed = geometry.l1_entries_for(header.size);
  if (header.size > UINT64_MAX - (geometry.l1_span() - 1))
    return invalid("Could not refresh total sector count: File too large", EFBIG);
  if (needed > std::numeric_limits<std::int32_t>::max()) return invalid("Image is too big", EFBIG);
  if (header.l1_size < needed) return invalid("L1 table is too small");
  return ok();
}

// The backing file's name.
Result<Walk> parse_backing_name(Bytes start, const Places& places, Header& header) {
  if (places.backing_offset == 0) return Walk::done;
  const std::uint64_t room = header.geometry().cluster_bytes() - places.backing_offset;
  if (places.backing_size > std::min<std::uint64_t>(format::kBackingNameMax, room))
    return invalid("Backing file name too long");
  if (places.backing_offset + places.backing_size > start.size()) return Walk::needs_more;
  header.backing_file = text_of(start.subspan(places.backing_offset, places.backing_size));
  return Walk::done;
}

}  // namespace

Result<std::optional<Header>> parse_header(Bytes start, HeaderUse use) {
  Places places;
  TRY(Header header, parse_fields(start, places));
  std::optional<Header> needs_more;
  TRY_OK(check_compression(header));
  if ((header.incompatible_features & ~format::kIncompatibleKnown) != 0) {
    const auto walked = parse_extensions(start, places, header);  // for the names, errors or not
    if (walked.ok() && *walked == Walk::needs_more) return needs_more;
    return unsupported(header);
  }
  TRY_OK(check_features(header, use));
  TRY_OK(check_tables(header, use));
  if (header.crypt_method > format::kCryptLuks)
    return invalid(fmt::format("Unsupported encryption method {}", header.crypt_method));
  TRY(const Walk extensions, parse_extensions(start, places, header));
  if (extensions == Walk::needs_more) return needs_more;
  if (header.crypt_method == format::kCryptLuks && !header.crypto)
    return invalid("Missing CRYPTO header for crypt method 2");
  TRY(const Walk name, parse_backing_name(start, places, header));
  if (name == Walk::needs_more) return needs_more;
  if (header.header_length > format::kHeaderLength) {
    if (header.header_length > start.size()) return needs_more;
    const Bytes rest = start.first(header.header_length).subspan(format::kHeaderLength);
    header.unknown_fields.assign(rest.begin(), rest.end());
  }
  return std::optional<Header>(std::move(header));
}

}  // namespace sim::qcow2
