// The header's fields, extensions and backing name.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/header.h"

namespace sim::image {

namespace format = qcow2::format;
namespace at = format::at;

struct HeaderField {
  std::size_t offset, bytes;
  std::string_view name;
  std::string_view unit;  // in words, behind the number
  std::uint64_t since = 2;
};

namespace {

constexpr std::array kFields = {
    HeaderField{at::magic, 4, "magic", "QFI\\xfb"},
    HeaderField{at::version, 4, "version", ""},
    HeaderField{at::backing_file_offset, 8, "backing_file_offset", ""},
    HeaderField{at::backing_file_size, 4, "backing_file_size", "bytes"},
    HeaderField{at::cluster_bits, 4, "cluster_bits", ""},
    HeaderField{at::size, 8, "size", "bytes"},
    HeaderField{at::crypt_method, 4, "crypt_method", ""},
    HeaderField{at::l1_size, 4, "l1_size", "entries"},
    HeaderField{at::l1_table_offset, 8, "l1_table_offset", ""},
    HeaderField{at::refcount_table_offset, 8, "refcount_table_offset", ""},
    HeaderField{at::refcount_table_clusters, 4, "refcount_table_clusters", "clusters"},
    HeaderField{at::nb_snapshots, 4, "nb_snapshots", ""},
    HeaderField{at::snapshots_offset, 8, "snapshots_offset", ""},
    HeaderField{at::incompatible_features, 8, "incompatible_features", "", 3},
    HeaderField{at::compatible_features, 8, "compatible_features", "", 3},
    HeaderField{at::autoclear_features, 8, "autoclear_features", "", 3},
    HeaderField{at::refcount_order, 4, "refcount_order", "", 3},
    HeaderField{at::header_length, 4, "header_length", "bytes", 3},
    HeaderField{at::compression_type, 1, "compression_type", "", 3},
};

struct Named {
  std::uint64_t value;
  std::string_view name;
};
constexpr std::array kIncompatible = {
    Named{format::kIncompatibleDirty, "dirty"}, Named{format::kIncompatibleCorrupt, "corrupt"},
    Named{format::kIncompatibleDataFile, "external data file"},
    Named{format::kIncompatibleCompression, "compression type"},
    Named{format::kIncompatibleExtendedL2, "extended L2 entries"}};
constexpr std::array kCompatible = {Named{format::kCompatibleLazyRefcounts, "lazy refcounts"}};
constexpr std::array kAutoclear = {Named{format::kAutoclearBitmaps, "bitmaps"},
                                   Named{format::kAutoclearRawDataFile, "raw external data file"}};
constexpr std::array kExtensions = {Named{format::extension::backing_format, "backing format"},
                                    Named{format::extension::feature_names, "feature names"},
                                    Named{format::extension::bitmaps, "bitmaps"},
                                    Named{format::extension::encryption, "encryption header"},
                                    Named{format::extension::data_file, "data file name"}};

template <class Names>
std::string bits_in_words(std::uint64_t value, const Names& names) {
  std::string text;
  const auto add = [&text](std::string_view name) {
    if (!text.empty()) text += ", ";
    text += name;
  };
  for (const Named& one : names) {
    if ((value & one.value) != 0) add(one.name);
    value &= ~one.value;
  }
  if (value != 0) add(fmt::format("unknown {:#x}", value));
  return text.empty() ? "none" : text;
}

std::uint64_t load(Bytes start, std::size_t offset, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(start[offset + i]);
  return value;
}

std::string meaning_of(const HeaderField& one, std::uint64_t value) {
  if (one.name == "incompatible_features") return bits_in_words(value, kIncompatible);
  if (one.name == "compatible_features") return bits_in_words(value, kCompatible);
  if (one.name == "autoclear_features") return bits_in_words(value, kAutoclear);
  if (one.name == "cluster_bits" && value < 32)
    return fmt::format("clusters of {} bytes", 1U << value);
  if (one.name == "refcount_order" && value < 7)
    return fmt::format("counts of {} bits", 1U << value);
  if (one.name == "backing_file_offset" && value == 0) return "no backing file";
  if (one.name == "crypt_method")
    return value == 0 ? "not encrypted" : value == 1 ? "AES" : value == 2 ? "LUKS" : "unknown";
  if (one.name == "compression_type") return value == 0 ? "zlib" : value == 1 ? "zstd" : "unknown";
  return std::string(one.unit);
}

}  // namespace

std::vector<std::string> Dumper::field_problems(std::string_view name, std::uint64_t value) const {
  std::vector<std::string> problems;
  const auto known = [&](bool good, std::string text) {
    if (!good) problems.push_back(std::move(text));
  };
  if (name == "version") known(value == 2 || value == 3, "neither 2 nor 3");
  if (name == "cluster_bits")
    known(value >= format::kClusterBitsMin && value <= format::kClusterBitsMax, "not 9 to 21");
  if (name == "refcount_order") known(value <= format::kRefcountOrderMax, "above 6");
  if (name == "header_length")
    known(value >= format::kHeaderLengthMin3 && value % 8 == 0 && value <= cluster_bytes(),
          "not a multiple of 8 from 104 to a cluster");
  if (name == "incompatible_features")
    known((value & ~format::kIncompatibleKnown) == 0, "unknown bits: not to be opened");
  if (name == "backing_file_size")
    known(stored_.backing_offset == 0 || value <= format::kBackingNameMax, "above 1023");
  if (name == "l1_size")
    known(value >= geometry_.l1_entries_for(stored_.size), "fewer than the disk needs");
  if (name == "refcount_table_clusters") known(value > 0, "no refcount table");
  const bool place = name == "l1_table_offset" || name == "refcount_table_offset" ||
                     (name == "snapshots_offset" && stored_.snapshots > 0);
  if (place) describe_place(problems, value, cluster_bytes());
  if (name == "l1_table_offset" && stored_.l1_size == 0) problems.clear();
  return problems;
}

void Dumper::field(Bytes start, const HeaderField& one, const Stored& stored) {
  if (stored.version < one.since || one.offset >= stored.header_length) return;
  const std::uint64_t value = load(start, one.offset, one.bytes);
  show({.kind = "field",
        .offset = one.offset,
        .bytes = one.bytes,
        .name = std::string(one.name),
        .value = value < 100000 ? fmt::format("{}", value) : fmt::format("{:#x}", value),
        .meaning = meaning_of(one, value),
        .fields = {{"name", one.name}, {"value", value}},
        .problems = field_problems(one.name, value)});
}

Task<void> Dumper::header() {
  std::array<std::byte, format::kHeaderLength> start{};
  if (wants(DumpSection::header)) sink_.section(DumpSection::header);
  co_await read(0, start, "header");
  const auto get = [&start](std::size_t offset, std::size_t bytes = 8) {
    return load(start, offset, bytes);
  };
  stored_ = {.version = get(at::version, 4),
             .backing_offset = get(at::backing_file_offset),
             .backing_bytes = get(at::backing_file_size, 4),
             .cluster_bits = get(at::cluster_bits, 4),
             .size = get(at::size),
             .crypt_method = get(at::crypt_method, 4),
             .l1_size = get(at::l1_size, 4),
             .l1_offset = get(at::l1_table_offset),
             .refcount_table = get(at::refcount_table_offset),
             .refcount_clusters = get(at::refcount_table_clusters, 4),
             .snapshots = get(at::nb_snapshots, 4),
             .snapshots_offset = get(at::snapshots_offset)};
  if (stored_.version >= 3) {
    stored_.incompatible = get(at::incompatible_features);
    stored_.compatible = get(at::compatible_features);
    stored_.autoclear = get(at::autoclear_features);
    stored_.refcount_order =
        std::min<std::uint64_t>(get(at::refcount_order, 4), format::kRefcountOrderMax);
    stored_.header_length = get(at::header_length, 4);
  }
  const bool sound = stored_.cluster_bits >= format::kClusterBitsMin &&
                     stored_.cluster_bits <= format::kClusterBitsMax;
  if (sound) {
    geometry_.cluster_bits = static_cast<std::uint32_t>(stored_.cluster_bits);
    geometry_.extended_l2 = (stored_.incompatible & format::kIncompatibleExtendedL2) != 0;
  }
  if (wants(DumpSection::header))
    for (const HeaderField& one : kFields) field(start, one, stored_);
  if (!sound) co_return;
  if (traces()) use(ClusterUse::Kind::header, 0, cluster_bytes(), "header");
  co_await extensions();
  co_await backing_name();
  const auto refused = co_await qcow2::read_header(file_, qcow2::HeaderUse::look);
  if (!refused && wants(DumpSection::header))
    show({.kind = "verdict",
          .bytes = cluster_bytes(),
          .name = "verdict",
          .meaning = "QEMU refuses to open this",
          .problems = {refused.error().desc}});
}

Task<void> Dumper::extensions() {
  const std::uint64_t end = std::min(
      stored_.backing_offset != 0 ? stored_.backing_offset : cluster_bytes(), cluster_bytes());
  std::uint64_t next = stored_.header_length;
  while (next + format::kExtensionHead <= end) {
    std::array<std::byte, format::kExtensionHead> head{};
    if (!co_await read(next, head, "header extension")) co_return;
    const auto type = load_be<std::uint32_t>(head, 0);
    const auto length = load_be<std::uint32_t>(head, 4);
    if (type == format::extension::end) {
      if (wants(DumpSection::header))
        show({.kind = "extension",
              .offset = next,
              .bytes = format::kExtensionHead,
              .name = "end",
              .meaning = "end of the extensions",
              .fields = {{"type", type}, {"name", "end"}}});
      co_return;
    }
    if (length > end - next - format::kExtensionHead) {
      if (wants(DumpSection::header))
        show({.kind = "extension",
              .offset = next,
              .bytes = format::kExtensionHead,
              .name = fmt::format("{:#010x}", type),
              .fields = {{"type", type}, {"length", length}},
              .problems = {fmt::format("{} bytes do not fit the first cluster", length)}});
      co_return;
    }
    co_await extension(type, next, length);
    next += format::kExtensionHead + align_up(length, 8);
  }
}

Task<void> Dumper::extension(std::uint32_t type, std::uint64_t place, std::uint32_t length) {
  std::vector<std::byte> data(length);
  if (!co_await read(place + format::kExtensionHead, data, "header extension")) co_return;
  const auto named = std::ranges::find(kExtensions, type, &Named::value);
  DumpRecord record{
      .kind = "extension",
      .offset = place,
      .bytes = format::kExtensionHead + align_up(length, 8),
      .name = named != kExtensions.end() ? std::string(named->name) : "unknown extension",
      .value = fmt::format("{:#010x}", type),
      .meaning = fmt::format("{} bytes", length),
      .fields = {{"type", type}, {"length", length}}};
  record.fields["name"] = record.name;
  if (type == format::extension::backing_format || type == format::extension::data_file) {
    record.meaning = escaped(data);
    record.fields["text"] = record.meaning;
  } else if (type == format::extension::feature_names) {
    record.meaning = fmt::format("{} names", length / format::kFeatureNameBytes);
  } else if (type == format::extension::bitmaps && length == format::kBitmapsPointerBytes) {
    const bool trusted = (stored_.autoclear & format::kAutoclearBitmaps) != 0;
    const auto count = load_be<std::uint32_t>(data, 0);
    const auto bytes = load_be<std::uint64_t>(data, 8),
               directory = load_be<std::uint64_t>(data, 16);
    if (trusted) {
      stored_.bitmaps = count;
      stored_.bitmap_directory_bytes = bytes;
      stored_.bitmap_directory = directory;
    } else {
      record.problems.emplace_back("the autoclear bit is not set: dropped by the next writer");
    }
    record.meaning =
        fmt::format("{} bitmaps, directory of {} bytes at {:#x}", count, bytes, directory);
    record.fields.update({{"count", count}, {"directory", directory}, {"directory-bytes", bytes}});
  } else if (type == format::extension::encryption && length == format::kCryptoPointerBytes) {
    const auto luks = load_be<std::uint64_t>(data, 0), bytes = load_be<std::uint64_t>(data, 8);
    record.meaning = fmt::format("LUKS header and keys, {} bytes at {:#x}", bytes, luks);
    record.fields.update({{"luks", luks}, {"luks-bytes", bytes}});
    describe_place(record.problems, luks, cluster_bytes());
    if (traces()) use(ClusterUse::Kind::encryption, luks, std::min(bytes, 64_MiB), "LUKS header");
  }
  if (!wants(DumpSection::header)) co_return;
  show(std::move(record));
  if (type != format::extension::feature_names) co_return;
  for (std::uint64_t i = 0; i + format::kFeatureNameBytes <= length;
       i += format::kFeatureNameBytes) {
    const auto set = std::to_integer<unsigned>(data[i]),
               bit = std::to_integer<unsigned>(data[i + 1]);
    const Bytes name = Bytes(data).subspan(i + 2, format::kFeatureNameBytes - 2);
    const auto end = std::ranges::find(name, std::byte{0}) - name.begin();
    const char* const sets[] = {"incompatible", "compatible", "autoclear"};
    show({.kind = "feature-name",
          .offset = place + format::kExtensionHead + i,
          .bytes = format::kFeatureNameBytes,
          .name = fmt::format("  {} bit {}", set < 3 ? sets[set] : "unknown set", bit),
          .meaning = escaped(name.first(static_cast<std::size_t>(end))),
          .fields = {{"set", set}, {"bit", bit}}});
  }
}

Task<void> Dumper::backing_name() {
  if (stored_.backing_offset == 0 || !wants(DumpSection::header)) co_return;
  DumpRecord record{.kind = "backing-name",
                    .offset = stored_.backing_offset,
                    .bytes = stored_.backing_bytes,
                    .name = "backing file name"};
  if (stored_.backing_offset + stored_.backing_bytes > cluster_bytes() ||
      stored_.backing_bytes > format::kBackingNameMax) {
    record.problems.emplace_back("does not fit the first cluster");
  } else {
    std::vector<std::byte> name(stored_.backing_bytes);
    if (!co_await read(stored_.backing_offset, name, "backing name")) co_return;
    record.meaning = escaped(name);
    record.fields["text"] = record.meaning;
  }
  show(std::move(record));
}

}  // namespace sim::image
