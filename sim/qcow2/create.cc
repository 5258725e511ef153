#include "sim/qcow2/create.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/tables.h"
#include "sim/world/world.h"

namespace sim::qcow2 {

namespace {

Error refuse(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

Error needs_version_3(const char* what, const char* compared = "and") {
  return refuse(fmt::format("{} compatibility level 1.1 {} above (use version=v3 or greater)", what,
                            compared));
}

// What QEMU refuses, in its order.
Result<> check_clusters(const CreateOptions& options) {
  if (options.extended_l2 && options.version < 3)
    return needs_version_3("Extended L2 entries are only supported with");
  if (options.cluster_bits < format::kClusterBitsMin ||
      options.cluster_bits > format::kClusterBitsMax)
    return refuse("Cluster size must be a power of two between 512 and 2048k");
  if (options.extended_l2 && options.cluster_bits < format::kExtendedClusterBitsMin)
    return refuse(fmt::format(
        "Extended L2 entries are only supported with cluster sizes of at least {} bytes",
        1U << format::kExtendedClusterBitsMin));
  return ok();
}

// QEMU creates an empty image and lets it grow.
Result<> check_size(const Header& header, std::uint64_t size) {
  constexpr const char* kContext = "Could not resize image: ";
  if (size > std::uint64_t{INT64_MAX} - (format::kSector - 1))  // rounded up, it is negative
    return refuse(std::string(kContext) + "Image size cannot be negative");
  if (size > format::kVirtualSizeMax)
    return refuse(
        fmt::format("{}offset({}) exceeds maximum({})", kContext, size, format::kVirtualSizeMax),
        EFBIG);
  if (header.geometry().l1_entries_for(size) * format::kEntryBytes > format::kL1BytesMax)
    return os_error(EFBIG, std::string(kContext) + "Failed to grow the L1 table");
  return ok();
}

// The header of an image of size 0, without what comes last: backing file and encryption.
Header empty_header(const CreateOptions& options) {
  Header header;
  header.version = options.version;
  header.cluster_bits = options.cluster_bits;
  header.refcount_order = options.refcount_order;
  header.compression_type = static_cast<std::uint8_t>(options.compression);
  if (options.compression != Compression::zlib)
    header.incompatible_features |= format::kIncompatibleCompression;
  if (options.extended_l2) header.incompatible_features |= format::kIncompatibleExtendedL2;
  if (options.lazy_refcounts) header.compatible_features |= format::kCompatibleLazyRefcounts;
  if (!options.data_file.empty()) header.incompatible_features |= format::kIncompatibleDataFile;
  if (options.data_file_raw) header.autoclear_features |= format::kAutoclearRawDataFile;
  header.data_file = options.data_file;
  header.refcount_table_offset = header.geometry().start_of(HostCluster{1});
  header.refcount_table_clusters = 1;
  return header;
}

std::uint32_t crypt_method(EncryptOptions::Format format) {
  switch (format) {
    case EncryptOptions::Format::none:
      return format::kCryptNone;
    case EncryptOptions::Format::aes:
      return format::kCryptAes;
    case EncryptOptions::Format::luks:
      return format::kCryptLuks;
  }
  return format::kCryptNone;
}

// The backing file and the encryption get into the header when everything else is there.
Result<> complete(Header& header, const CreateOptions& options) {
  if (!serialise_header(header).ok()) return os_error(ENOSPC, "Could not update qcow2 header");
  header.backing_file = options.backing_file;
  header.backing_format = options.backing_format;
  const Result<> backing = header.backing_file.size() > format::kBackingNameMax ? os_error(EINVAL)
                           : !serialise_header(header).ok()                     ? os_error(ENOSPC)
                                                                                : ok();
  if (!backing)
    return os_error(
        backing.error().number,
        fmt::format("Could not assign backing file '{}' with format '{}'", header.backing_file,
                    header.backing_format.empty() ? "(null)" : header.backing_format));
  header.crypt_method = crypt_method(options.encrypt.format);
  if (header.crypt_method != format::kCryptLuks) return ok();
  TRY(const std::uint64_t bytes, luks_area_bytes(options.encrypt));
  header.crypto = CryptoPointer{.offset = {}, .length = bytes};
  if (!serialise_header(header).ok()) return os_error(ENOSPC, "Could not update qcow2 header");
  return ok();
}

// Cluster 0 is the header, 1 the refcount table, 2 its first block, which counts them.
Task<Result<>> write_empty(storage::Storage& file, Header& header) {
  const Geometry geometry = header.geometry();
  CO_TRY(const std::vector<std::byte> bytes, serialise_header(header));
  // The header's cluster, then the tables': who watches the file sees QEMU's two steps.
  const std::uint64_t tables_at = geometry.start_of(HostCluster{1}).value;
  CO_TRY_OK(co_await file.write_zeroes(0, tables_at, false));
  CO_TRY_OK(co_await file.write_zeroes(tables_at, 2 * tables_at, false));
  std::array<std::byte, 8> entry{};
  store_be(MutableBytes(entry), 0, geometry.start_of(HostCluster{2}).value);
  CO_TRY_OK(co_await file.write(header.refcount_table_offset.value, entry));
  Tables tables(file, geometry);
  Refcounts refcounts(file, tables, header);
  CO_TRY_OK(co_await refcounts.allocate(3));
  CO_TRY_OK(co_await tables.write_back());
  co_return co_await file.write(0, bytes);
}

// Lets the empty image grow to its size; `header` is what it is then.
Task<Result<>> grow(std::shared_ptr<storage::Storage> file,
                    std::shared_ptr<storage::Storage> data_file, const CreateOptions& options,
                    Header& header) {
  World own(0);  // nobody else knows this image yet: nothing in it waits for anything
  CO_TRY(const auto image,
         co_await Image::open(own, std::move(file),
                              OpenOptions{.writable = true, .data_file = std::move(data_file)}));
  // QEMU: a raw data file is valid as it is only if every cluster says so.
  Preallocation preallocation = options.preallocation;
  if (options.data_file_raw && preallocation == Preallocation::off)
    preallocation = Preallocation::metadata;
  CO_TRY_OK(co_await image->resize(align_up(options.size, format::kSector), preallocation));
  CO_TRY_OK(co_await image->close());
  header = image->header();
  co_return ok();
}

// Puts the LUKS area into clusters of its own.
Task<Result<CryptoPointer>> store_luks_area(storage::Storage& file, Header& header,
                                            const EncryptOptions& options) {
  CO_TRY(const std::vector<std::byte> area, make_luks_area(options));
  const Geometry geometry = header.geometry();
  Tables tables(file, geometry);
  Refcounts refcounts(file, tables, header);
  const std::uint64_t clusters = geometry.clusters_for(area.size());
  CO_TRY(const HostCluster first, co_await refcounts.allocate(clusters));
  CO_TRY_OK(co_await tables.make_zero(geometry.start_of(first), clusters));
  CO_TRY_OK(co_await file.write(geometry.start_of(first).value, area));
  CO_TRY_OK(co_await tables.flush());
  co_return CryptoPointer{.offset = geometry.start_of(first), .length = area.size()};
}

}  // namespace

Result<> check_create_options(const CreateOptions& options) {
  const bool backing = !options.backing_file.empty();
  const bool data_file = !options.data_file.empty();
  TRY_OK(check_clusters(options));
  if (backing && options.preallocation != Preallocation::off && !options.extended_l2)
    return refuse(
        "Backing file and preallocation can only be used at the same time if extended_l2 is on");
  if (!options.backing_format.empty() && !backing)
    return refuse("Backing format cannot be used without backing file");
  if (options.lazy_refcounts && options.version < 3)
    return needs_version_3("Lazy refcounts only supported with");
  if (options.refcount_order > format::kRefcountOrderMax)
    return refuse("Refcount width must be a power of two and may not exceed 64 bits");
  if (options.refcount_order != format::kRefcountOrderDefault && options.version < 3)
    return needs_version_3("Different refcount widths than 16 bits require", "or");
  if (backing && options.data_file_raw)
    return refuse("Backing file and data-file-raw cannot be used at the same time");
  if (data_file && options.version < 3)
    return needs_version_3("External data files are only supported with");
  if (options.data_file_raw && !data_file) return refuse("data-file-raw requires data-file");
  if (options.compression != Compression::zlib && options.version < 3)
    return needs_version_3("Non-zlib compression type is only supported with");
  return ok();
}

Task<Result<>> create(std::shared_ptr<storage::Storage> file, CreateOptions options,
                      std::shared_ptr<storage::Storage> data_file) {
  CO_TRY_OK(check_create_options(options));
  Header header = empty_header(options);
  if (!options.keeps_file) {
    CO_TRY_OK(check_size(header, options.size));
    Header planned = header;
    CO_TRY_OK(complete(planned, options));
  }
  if (!options.data_file.empty() && !data_file)
    co_return refuse("'data-file' is required for this image");

  if (!options.keeps_file) CO_TRY_OK(co_await file->truncate(0));
  CO_TRY_OK(co_await write_empty(*file, header));
  CO_TRY_OK(check_size(header, options.size));
  CO_TRY_OK(co_await grow(file, std::move(data_file), options, header));
  const bool luks = options.encrypt.format == EncryptOptions::Format::luks;
  if (options.backing_file.empty() && options.encrypt.format == EncryptOptions::Format::none)
    co_return ok();
  std::optional<CryptoPointer> area;
  if (luks) {
    CO_TRY(area, co_await store_luks_area(*file, header, options.encrypt));
  }
  CO_TRY_OK(complete(header, options));
  header.crypto = area;
  CO_TRY(const std::vector<std::byte> bytes, serialise_header(header));
  CO_TRY_OK(co_await file->write(0, bytes));
  co_return co_await file->flush();
}

Task<Result<>> create(storage::Storage& file, CreateOptions options) {
  // The caller keeps the file: the pointer owns nothing.
  std::shared_ptr<storage::Storage> borrowed(std::shared_ptr<storage::Storage>(), &file);
  co_return co_await create(std::move(borrowed), std::move(options));
}

}  // namespace sim::qcow2
