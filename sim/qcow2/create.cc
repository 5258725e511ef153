#include "sim/qcow2/create.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/tables.h"

namespace sim::qcow2 {

namespace {

Result<Header> plan(const CreateOptions& options) {
  const auto refuse = [](const char* text, int number) {
    return Error{ErrorClass::generic, text, number};
  };
  if (options.cluster_bits < format::kClusterBitsMin ||
      options.cluster_bits > format::kClusterBitsMax)
    return refuse("Cluster size must be a power of two between 512 and 2048k", EINVAL);
  if (options.size > INT64_MAX) return os_error(EFBIG);
  Header header;
  header.cluster_bits = options.cluster_bits;
  header.size = align_up(options.size, format::kSector);
  header.backing_file = options.backing_file;
  header.backing_format = options.backing_format;
  const std::uint64_t entries = header.geometry().l1_entries_for(header.size);
  if (entries * format::kEntryBytes > format::kL1BytesMax)
    return refuse("Could not resize image: Failed to grow the L1 table: File too large", EFBIG);
  header.l1_size = static_cast<std::uint32_t>(entries);
  return header;
}

// The header's bytes; what does not fit is the backing file's name.
Result<std::vector<std::byte>> header_bytes(const Header& header) {
  Result<std::vector<std::byte>> bytes = header.backing_file.size() > format::kBackingNameMax
                                             ? os_error(EINVAL)
                                             : serialise_header(header);
  if (bytes.ok() || header.backing_file.empty()) return bytes;
  return os_error(bytes.error().number,
                  fmt::format("Could not assign backing file '{}' with format '{}'",
                              header.backing_file, header.backing_format));
}

}  // namespace

// Cluster 0 is the header, 1 the refcount table, 2 its first block, which counts them; the L1 table
// is then allocated like anything else, so the table and more blocks grow where QEMU's do.
Task<Result<>> create(storage::Storage& file, CreateOptions options) {
  CO_TRY(Header header, plan(options));
  const Geometry geometry = header.geometry();
  CO_TRY_OK(header_bytes(header));  // that it fits, before the file is touched
  header.refcount_table_offset = geometry.start_of(HostCluster{1});
  header.refcount_table_clusters = 1;
  CO_TRY_OK(co_await file.truncate(0));
  CO_TRY_OK(co_await file.truncate(geometry.start_of(HostCluster{3}).value));
  std::array<std::byte, 8> entry{};
  store_be(MutableBytes(entry), 0, geometry.start_of(HostCluster{2}).value);
  CO_TRY_OK(co_await file.write(header.refcount_table_offset.value, entry));

  Tables tables(file, geometry);
  Refcounts refcounts(file, tables, header);
  CO_TRY_OK(co_await refcounts.allocate(3));
  if (header.l1_size > 0) {
    const std::uint64_t bytes = header.l1_size * format::kEntryBytes;
    CO_TRY(const HostCluster l1, co_await refcounts.allocate(geometry.clusters_for(bytes)));
    header.l1_table_offset = geometry.start_of(l1);
    const std::uint64_t end = header.l1_table_offset.value + bytes;  // zero already
    if (file.size() < end) CO_TRY_OK(co_await file.truncate(end));
  }
  CO_TRY_OK(co_await tables.write_back());
  CO_TRY(const std::vector<std::byte> bytes, header_bytes(header));
  CO_TRY_OK(co_await file.write(0, bytes));
  co_return co_await file.flush();
}

Task<Result<>> create(std::shared_ptr<storage::Storage> file, CreateOptions options,
                      std::shared_ptr<storage::Storage> data_file) {
  if (data_file) co_return os_error(ENOTSUP, "understudy: not in this version: data files");
  co_return co_await create(*file, std::move(options));
}

}  // namespace sim::qcow2
