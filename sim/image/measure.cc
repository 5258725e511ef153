#include "sim/image/measure.h"

#include <algorithm>
#include <utility>

#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
#include "sim/storage/memory.h"

namespace sim::image {

namespace {

using qcow2::format::kEntryBytes;
constexpr std::uint64_t kBitmapEntryBytes = 24;  // spec, "Bitmap directory": without the name

// Bytes of refcount blocks and table that count `clusters` clusters and themselves.
std::uint64_t refcount_bytes(std::uint64_t clusters, const qcow2::CreateOptions& options) {
  const std::uint64_t cluster = std::uint64_t{1} << options.cluster_bits;
  const std::uint64_t counts_in_block = cluster * 8 >> options.refcount_order;
  const std::uint64_t blocks_in_table_cluster = cluster / kEntryBytes;
  std::uint64_t blocks = 0, table = 0;
  for (std::uint64_t before = UINT64_MAX; before != blocks + table;) {
    before = blocks + table;
    blocks = div_up(clusters + before, counts_in_block);
    table = div_up(blocks, blocks_in_table_cluster);
  }
  return (blocks + table) * cluster;
}

// QEMU's estimate: header, L1, L2 tables in whole, refcounts, data.  `size` is whole clusters.
std::uint64_t full_size(std::uint64_t size, const qcow2::CreateOptions& options) {
  const qcow2::Geometry geometry{options.cluster_bits, options.extended_l2};
  const std::uint64_t cluster = geometry.cluster_bytes();
  const std::uint64_t l2_bytes =
      align_up(size / cluster, geometry.l2_entries()) * geometry.l2_entry_bytes();
  const std::uint64_t l1_bytes = align_up(l2_bytes / cluster * kEntryBytes, cluster);
  const std::uint64_t bytes = cluster + l2_bytes + l1_bytes + size;
  return bytes + refcount_bytes(bytes / cluster, options);
}

// Bytes of the clusters that hold data of `source`.
Task<Result<std::uint64_t>> bytes_in_use(Layer& source, std::uint64_t cluster) {
  std::uint64_t used = 0;
  for (std::uint64_t at = 0; at < source.size();) {
    CO_TRY(const ChainStatus found, co_await status_of_chain(source, at, source.size() - at));
    std::uint64_t length = found.status.length;
    if (!found.status.zero) {
      length = align_up(at + length, cluster) - at;
      used += at % cluster + length;
    }
    at += length;
  }
  co_return used;
}

// What the consistent bitmaps of `image` take in clusters of `cluster` bytes: bits, tables, and the
// directory (spec, "Bitmaps extension").
std::uint64_t bitmap_bytes(const qcow2::Image& image, std::uint64_t cluster) {
  std::uint64_t bytes = 0, directory = 0;
  for (const qcow2::BitmapInfo& bitmap : image.bitmaps()) {
    if (bitmap.in_use) continue;
    const std::uint64_t bits = div_up(image.size(), bitmap.granularity());
    const std::uint64_t clusters = div_up(div_up(bits, 8), cluster);
    bytes += clusters * cluster + align_up(clusters * kEntryBytes, cluster);
    directory += align_up(kBitmapEntryBytes + bitmap.name.size(), 8);
  }
  return bytes + align_up(directory, cluster);
}

// The options are tried on an empty image: what refuses them is in one place.  But QEMU measures
// version 2 with what only version 3 has, except for widths of counts.
Task<Result<>> check_options(qcow2::CreateOptions options) {
  const std::uint32_t version = std::exchange(options.version, 3);
  options.size = 0;
  options.preallocation = qcow2::Preallocation::off;
  options.data_file.clear();
  options.data_file_raw = false;
  options.encrypt = {};
  storage::MemoryFile file;
  const bool usual_width = options.refcount_order == qcow2::format::kRefcountOrderDefault;
  CO_TRY_OK(co_await qcow2::create(file, std::move(options)));
  if (version < 3 && !usual_width)
    co_return Error{ErrorClass::generic,
                    "Different refcount widths than 16 bits require compatibility level 1.1 or "
                    "above (use compat=1.1 or greater)",
                    EINVAL};
  co_return ok();
}

}  // namespace

Measure measure_raw(std::uint64_t size) {
  const std::uint64_t bytes = align_up(size, qcow2::format::kSector);
  return {.required = bytes, .fully_allocated = bytes};
}

Task<Result<Measure>> measure_qcow2(qcow2::CreateOptions options, Layer* source) {
  CO_TRY_OK(co_await check_options(options));
  const qcow2::Geometry geometry{options.cluster_bits, options.extended_l2};
  const std::uint64_t cluster = geometry.cluster_bytes();
  const std::uint64_t size = align_up(source != nullptr ? source->size() : options.size, cluster);
  // QEMU looks at a size that was given, not at that of an image (measured on 7.2).
  if (source == nullptr && geometry.l1_entries_for(size) * kEntryBytes > qcow2::format::kL1BytesMax)
    co_return Error{ErrorClass::generic,
                    "The image size is too large (try using a larger cluster size)", EFBIG};
  std::uint64_t luks = 0;
  if (options.encrypt.format == qcow2::EncryptOptions::Format::luks) {
    CO_TRY(luks, qcow2::luks_area_bytes(options.encrypt));
    luks = align_up(luks, cluster);
  }
  std::uint64_t data = 0;
  if (source != nullptr && !options.backing_file.empty()) {
    data = size;  // nobody knows how much is shared
  } else if (source != nullptr) {
    CO_TRY(data, co_await bytes_in_use(*source, cluster));
  }
  if (options.preallocation == qcow2::Preallocation::falloc ||
      options.preallocation == qcow2::Preallocation::full)
    data = size;
  Measure measure{.fully_allocated = full_size(size, options) + luks};
  measure.required = measure.fully_allocated - size + data;
  if (source != nullptr && source->qcow2() != nullptr && options.version >= 3 &&
      source->qcow2()->header().version >= 3)
    measure.bitmaps = bitmap_bytes(*source->qcow2(), cluster);
  co_return measure;
}

}  // namespace sim::image
