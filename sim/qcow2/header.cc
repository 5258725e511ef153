#include "sim/qcow2/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "sim/qcow2/format.h"

namespace sim::qcow2 {

namespace {

// What QEMU 7.2 writes into the feature name table, in its order.
struct KnownFeature {
  std::uint8_t set, bit;
  std::string_view name;
};
constexpr std::array<KnownFeature, 8> kKnownFeatures = {{
    {0, 0, "dirty bit"},
    {0, 1, "corrupt bit"},
    {0, 2, "external data file"},
    {0, 3, "compression type"},
    {0, 4, "extended L2 entries"},
    {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},
    {2, 1, "raw external data"},
}};

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

Result<> keep_extension(std::uint32_t type, Bytes data, Header& header) {
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
      if (header.crypt_method != 2)
        return invalid("CRYPTO header extension only expected with LUKS encryption method");
      break;
    default:
      break;
  }
  header.unknown_extensions.push_back({type, {data.begin(), data.end()}});
  return ok();
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
    TRY_OK(keep_extension(type, start.subspan(at, length), header));
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

Result<> check_features(const Header& header, bool writable) {
  const std::uint64_t features = header.incompatible_features;
  const bool typed = (features & format::kIncompatibleCompression) != 0;
  if (header.compression_type > 1)
    return invalid(fmt::format("qcow2: unknown compression type: {}", header.compression_type),
                   ENOTSUP);
  if (header.compression_type == 0 && typed)
    return invalid("qcow2: Compression type incompatible feature bit must not be set");
  if (header.compression_type != 0 && !typed)
    return invalid("qcow2: Compression type incompatible feature bit must be set");
  if (writable && (features & format::kIncompatibleCorrupt) != 0)
    return invalid("qcow2: Image is corrupt; cannot be opened read/write", EACCES);
  if (header.refcount_order > format::kRefcountOrderMax)
    return invalid("Reference count entry width too large; may not exceed 64 bits");
  if (header.crypt_method > format::kCryptMethodMax)
    return invalid(fmt::format("Unsupported encryption method {}", header.crypt_method));
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

Result<> check_tables(const Header& header) {
  const Geometry geometry = header.geometry();
  if (header.refcount_table_clusters == 0)
    return invalid("Image does not contain a reference count table");
  TRY_OK(check_table(header, header.refcount_table_offset,
                     header.refcount_table_clusters * geometry.cluster_bytes(),
                     format::kRefcountTableBytesMax, "Reference count table"));
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

// What QEMU opens and this room does not.
Result<> check_implemented(const Header& header, bool writable) {
  const auto refuse = [](std::string_view name) {
    return invalid(fmt::format("Unsupported qcow2 feature(s): {}", name), ENOTSUP);
  };
  const std::uint64_t features = header.incompatible_features;
  if (header.crypt_method != 0) return refuse("encryption");
  if ((features & format::kIncompatibleDataFile) != 0) return refuse("external data file");
  if ((features & format::kIncompatibleExtendedL2) != 0) return refuse("extended L2 entries");
  if (header.nb_snapshots != 0) return refuse("internal snapshots");
  if (!writable) return ok();
  if (header.version < 3) return refuse("writing to version 2");
  if ((features & format::kIncompatibleDirty) != 0) return refuse("repair of a dirty image");
  for (const UnknownExtension& extension : header.unknown_extensions)
    if (extension.type == format::extension::bitmaps) return refuse("bitmaps");
  return ok();
}

}  // namespace

Result<std::optional<Header>> parse_header(Bytes start, bool writable) {
  Places places;
  TRY(Header header, parse_fields(start, places));
  std::optional<Header> needs_more;
  if ((header.incompatible_features & ~format::kIncompatibleKnown) != 0) {
    const auto walked = parse_extensions(start, places, header);  // for the names, errors or not
    if (walked.ok() && *walked == Walk::needs_more) return needs_more;
    return unsupported(header);
  }
  TRY_OK(check_features(header, writable));
  TRY_OK(check_tables(header));
  TRY(const Walk walked, parse_extensions(start, places, header));
  if (walked == Walk::needs_more) return needs_more;
  if (places.backing_offset != 0) {
    const std::uint64_t room = header.geometry().cluster_bytes() - places.backing_offset;
    if (places.backing_size > std::min<std::uint64_t>(format::kBackingNameMax, room))
      return invalid("Backing file name too long");
    if (places.backing_offset + places.backing_size > start.size()) return needs_more;
    header.backing_file = text_of(start.subspan(places.backing_offset, places.backing_size));
  }
  if (header.header_length > format::kHeaderLength) {
    if (header.header_length > start.size()) return needs_more;
    const Bytes rest = start.first(header.header_length).subspan(format::kHeaderLength);
    header.unknown_fields.assign(rest.begin(), rest.end());
  }
  TRY_OK(check_implemented(header, writable));
  return std::optional<Header>(std::move(header));
}

// ---- writing

namespace {

void append_extension(std::vector<std::byte>& out, std::uint32_t type, Bytes data) {
  const std::size_t at = out.size();
  out.resize(at + format::kExtensionHead + align_up(data.size(), 8));
  store_be(MutableBytes(out), at, type);
  store_be(MutableBytes(out), at + 4, static_cast<std::uint32_t>(data.size()));
  std::ranges::copy(data, out.begin() + static_cast<std::ptrdiff_t>(at + format::kExtensionHead));
}

void append_feature_names(std::vector<std::byte>& out) {
  std::array<std::byte, kKnownFeatures.size() * format::kFeatureNameBytes> table{};
  for (std::size_t i = 0; i < kKnownFeatures.size(); ++i) {
    const std::size_t at = i * format::kFeatureNameBytes;
    table[at] = std::byte{kKnownFeatures[i].set};
    table[at + 1] = std::byte{kKnownFeatures[i].bit};
    std::ranges::copy(std::as_bytes(std::span(kKnownFeatures[i].name)),
                      table.begin() + static_cast<std::ptrdiff_t>(at + 2));
  }
  append_extension(out, format::extension::feature_names, table);
}

void store_fields(const Header& header, MutableBytes out) {
  store_be(out, format::at::magic, format::kMagic);
  store_be(out, format::at::version, header.version);
  store_be(out, format::at::cluster_bits, header.cluster_bits);
  store_be(out, format::at::size, header.size);
  store_be(out, format::at::crypt_method, header.crypt_method);
  store_be(out, format::at::l1_size, header.l1_size);
  store_be(out, format::at::l1_table_offset, header.l1_table_offset.value);
  store_be(out, format::at::refcount_table_offset, header.refcount_table_offset.value);
  store_be(out, format::at::refcount_table_clusters, header.refcount_table_clusters);
  store_be(out, format::at::nb_snapshots, header.nb_snapshots);
  store_be(out, format::at::snapshots_offset, header.snapshots_offset.value);
  store_be(out, format::at::incompatible_features, header.incompatible_features);
  store_be(out, format::at::compatible_features, header.compatible_features);
  store_be(out, format::at::autoclear_features, header.autoclear_features);
  store_be(out, format::at::refcount_order, header.refcount_order);
  store_be(out, format::at::header_length,
           static_cast<std::uint32_t>(format::kHeaderLength + header.unknown_fields.size()));
  out[format::at::compression_type] = std::byte{header.compression_type};
}

}  // namespace

Result<std::vector<std::byte>> serialise_header(const Header& header) {
  std::vector<std::byte> out;
  out.reserve(1024);
  out.resize(format::kHeaderLength);
  store_fields(header, out);
  out.insert(out.end(), header.unknown_fields.begin(), header.unknown_fields.end());
  if (!header.backing_format.empty())
    append_extension(out, format::extension::backing_format,
                     std::as_bytes(std::span(header.backing_format)));
  if (header.geometry().cluster_bytes() >= format::kFeatureNamesClusterMin)
    append_feature_names(out);
  for (const UnknownExtension& extension : header.unknown_extensions)
    append_extension(out, extension.type, extension.data);
  append_extension(out, format::extension::end, {});
  if (!header.backing_file.empty()) {
    store_be(MutableBytes(out), format::at::backing_file_offset, std::uint64_t{out.size()});
    store_be(MutableBytes(out), format::at::backing_file_size,
             static_cast<std::uint32_t>(header.backing_file.size()));
    const Bytes name = std::as_bytes(std::span(header.backing_file));
    out.insert(out.end(), name.begin(), name.end());
  }
  if (out.size() > header.geometry().cluster_bytes()) return os_error(ENOSPC);
  return out;
}

}  // namespace sim::qcow2
