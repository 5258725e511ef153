// Writing the header cluster.

#include <algorithm>
#include <array>
#include <string_view>

#include "sim/qcow2/format.h"
#include "sim/qcow2/header.h"

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

// The extensions that hold a name.
void append_texts(const Header& header, std::vector<std::byte>& out) {
  if (!header.backing_format.empty())
    append_extension(out, format::extension::backing_format,
                     std::as_bytes(std::span(header.backing_format)));
  if (header.has_data_file() && !header.data_file.empty())
    append_extension(out, format::extension::data_file, std::as_bytes(std::span(header.data_file)));
}

void append_pointers(const Header& header, std::vector<std::byte>& out) {
  if (header.crypto) {
    std::array<std::byte, format::kCryptoPointerBytes> data{};
    store_be(MutableBytes(data), 0, header.crypto->offset.value);
    store_be(MutableBytes(data), 8, header.crypto->length);
    append_extension(out, format::extension::encryption, data);
  }
  if (header.version >= 3 && header.geometry().cluster_bytes() >= format::kFeatureNamesClusterMin)
    append_feature_names(out);
  if (header.bitmaps) {
    std::array<std::byte, format::kBitmapsPointerBytes> data{};
    store_be(MutableBytes(data), 0, header.bitmaps->count);
    store_be(MutableBytes(data), 8, header.bitmaps->directory_bytes);
    store_be(MutableBytes(data), 16, header.bitmaps->directory.value);
    append_extension(out, format::extension::bitmaps, data);
  }
}

}  // namespace

Result<std::vector<std::byte>> serialise_header(const Header& header) {
  const bool version_3 = header.version >= 3;
  std::vector<std::byte> out;
  out.reserve(1024);
  out.resize(format::kHeaderLength);
  store_fields(header, out);
  if (version_3)
    out.insert(out.end(), header.unknown_fields.begin(), header.unknown_fields.end());
  else
    out.resize(format::kHeaderLength2);
  append_texts(header, out);
  append_pointers(header, out);
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
