#include "sim/qcow2/amend.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

namespace {

Error refuse(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

// What an option names, and what the image has, are the same.
bool agrees(const std::optional<std::string>& option, const std::string& stored) {
  return option ? !stored.empty() && *option == stored : stored.empty();
}

}  // namespace

// The steps are QEMU's, in its order: first what makes more possible, last what makes less.
class Amender {
 public:
  Amender(Image& image, AmendOptions options) : image_(image), options_(std::move(options)) {}

  Task<Result<>> run() {
    CO_TRY_OK(image_.check_change({0}, 0));
    CO_TRY_OK(check());
    CO_TRY_OK(co_await image_.flush());
    if (version() > header().version) CO_TRY_OK(co_await set_version(version()));
    if (options_.key)
      CO_TRY_OK(co_await amend_key(*image_.file_, header(), *options_.key, options_.unlock_secret,
                                   options_.random));
    if (order() != header().refcount_order) CO_TRY_OK(co_await change_width());
    CO_TRY_OK(co_await change_header());
    if (options_.size.value_or(0) != 0)
      CO_TRY_OK(co_await image_.resize(*options_.size, Preallocation::off));
    if (version() < header().version) CO_TRY_OK(co_await downgrade());
    co_return ok();
  }

 private:
  Header& header() { return image_.header_; }
  std::uint32_t version() { return options_.version.value_or(header().version); }
  std::uint32_t order() { return options_.refcount_order.value_or(header().refcount_order); }

  Result<> check() {
    if (options_.refcount_order && *options_.refcount_order > format::kRefcountOrderMax)
      return refuse("Refcount width must be a power of two and may not exceed 64 bits");
    if (options_.data_file && !header().has_data_file())
      return refuse("data-file can only be set for images that use an external data file");
    if (options_.data_file_raw.value_or(false) && !header().has_raw_data_file())
      return refuse("data-file-raw cannot be set on existing images");
    if (order() != header().refcount_order && order() != format::kRefcountOrderDefault &&
        version() < 3)
      return refuse(
          "Refcount widths other than 16 bits require compatibility level 1.1 or above (use "
          "compat=1.1 or greater)");
    if ((options_.backing_file || options_.backing_format) &&
        !(agrees(options_.backing_file, header().backing_file) &&
          agrees(options_.backing_format, header().backing_format)))
      return refuse("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
    if (options_.lazy_refcounts.value_or(false) && !header().has_lazy_refcounts() && version() < 3)
      return refuse(
          "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 "
          "or greater)");
    if (options_.size.value_or(0) != 0)
      TRY_OK(image_.check_resize(*options_.size, Preallocation::off));
    return version() < header().version ? check_downgrade() : ok();
  }

  Result<> check_downgrade() {
    if (header().has_data_file())
      return refuse("Cannot downgrade an image with a data file", ENOTSUP);
    const std::uint64_t size = options_.size.value_or(0) != 0 ? *options_.size : image_.size_;
    for (const Snapshot& snapshot : image_.snapshots_)
      if (snapshot.vm_state_bytes > UINT32_MAX || snapshot.size.value_or(size) != size)
        return refuse("Internal snapshots prevent downgrade of image", ENOTSUP);
    if (order() != format::kRefcountOrderDefault)
      return refuse("compat=0.10 requires refcount_bits=16", ENOTSUP);
    const std::uint64_t features = header().incompatible_features &
                                   ~(format::kIncompatibleDirty | format::kIncompatibleCompression);
    if (features != 0)
      return refuse(
          fmt::format("Cannot downgrade an image with incompatible features {:#x} set", features),
          ENOTSUP);
    return ok();
  }

  // Stores `changed` as the header, or leaves everything as it is.
  Task<Result<>> store(Header changed) {
    const auto held = co_await image_.lock_.lock();
    std::swap(header(), changed);
    const auto stored = co_await image_.store_header();
    if (stored.ok()) co_return ok();
    std::swap(header(), changed);
    co_return os_error(stored.error().number, "Failed to update the image header");
  }

  Task<Result<>> set_version(std::uint32_t version) {
    Header changed = header();
    changed.version = version;
    CO_TRY_OK(co_await store(std::move(changed)));
    image_.format_.zero_flag = version >= 3;
    co_return ok();
  }

  Task<Result<>> change_width() {
    const Refcounts::Structures old{.table = header().refcount_table_offset,
                                    .table_clusters = header().refcount_table_clusters,
                                    .order = header().refcount_order};
    Refcounts::Structures made;
    {
      const auto held = co_await image_.lock_.lock();
      CO_TRY(made, co_await image_.refcounts_.prepare_width(order()));
    }
    Header changed = header();
    changed.refcount_order = made.order;
    changed.refcount_table_offset = made.table;
    changed.refcount_table_clusters = made.table_clusters;
    CO_TRY_OK(co_await store(std::move(changed)));
    const auto held = co_await image_.lock_.lock();
    CO_TRY_OK(co_await image_.refcounts_.switch_width(old));
    CO_TRY_OK(co_await image_.tables_.flush());
    co_return co_await image_.learn_metadata();
  }

  Task<Result<>> change_header() {
    if (!options_.lazy_refcounts.value_or(true)) {
      const auto held = co_await image_.lock_.lock();
      CO_TRY_OK(co_await stop_deferring_counts());
    }
    Header changed = header();
    if (options_.data_file_raw && !*options_.data_file_raw)
      changed.autoclear_features &= ~format::kAutoclearRawDataFile;
    if (options_.data_file) changed.data_file = *options_.data_file;
    if (options_.lazy_refcounts) {
      changed.compatible_features &= ~format::kCompatibleLazyRefcounts;
      if (*options_.lazy_refcounts) changed.compatible_features |= format::kCompatibleLazyRefcounts;
    }
    CO_TRY_OK(co_await store(std::move(changed)));
    if (options_.lazy_refcounts) image_.lazy_refcounts_ = *options_.lazy_refcounts;
    co_return ok();
  }

  // Counts that were put off are written, and later ones are not put off.  With lock_ held.
  Task<Result<>> stop_deferring_counts() {
    image_.lazy_refcounts_ = false;
    if (header().is_dirty()) co_return co_await image_.mark_clean();
    co_return ok();
  }

  Task<Result<>> downgrade() {
    const bool zstd = header().compression_type != 0;
    {
      const auto held = co_await image_.lock_.lock();
      CO_TRY_OK(check_snapshots());
      if (zstd) CO_TRY_OK(co_await refuse_compressed());
      CO_TRY_OK(co_await expand(header().l1_table_offset, header().l1_size));
      for (const Snapshot& snapshot : image_.snapshots_)
        CO_TRY_OK(co_await expand(snapshot.l1_table_offset, snapshot.l1_size));
      CO_TRY_OK(co_await stop_deferring_counts());
      CO_TRY_OK(co_await image_.tables_.flush());
    }
    Header changed = header();
    changed.version = version();
    changed.incompatible_features = changed.compatible_features = changed.autoclear_features = 0;
    changed.compression_type = 0;
    changed.bitmaps.reset();
    CO_TRY_OK(co_await store(std::move(changed)));
    image_.format_.zero_flag = false;
    co_return ok();
  }

  // All L1 tables of snapshots are in the file, so they cannot be more than it is long.
  Result<> check_snapshots() {
    std::uint64_t bytes = 0;
    for (const Snapshot& snapshot : image_.snapshots_)
      bytes += snapshot.l1_size * format::kEntryBytes;
    if (bytes <= image_.file_->size()) return ok();
    return refuse(fmt::format("Snapshot table at {:#x}: L1 tables of {} bytes, more than the file",
                              header().snapshots_offset.value, bytes),
                  EIO);
  }

  // The L2 tables that an L1 table refers to, whole and in order.
  template <class Visit>
  Task<Result<>> for_each_table(HostOffset l1, std::uint32_t entries, Visit visit) {
    CO_TRY_OK(co_await image_.check_l2_tables(l1, entries));
    for (std::uint32_t i = 0; i < entries; ++i) {
      CO_TRY(const std::uint64_t entry,
             co_await image_.tables_.entry(l1 + i * format::kEntryBytes, Tables::Kind::l1));
      const HostOffset table{entry & format::kOffsetMask};
      if (table.value == 0) continue;
      if (image_.geometry_.within(table) != 0)
        co_return refuse(
            fmt::format("L2 table offset {:#x} unaligned (L1 index: {:#x})", table.value, i), EIO);
      CO_TRY_OK(co_await visit(table));
    }
    co_return ok();
  }

  Task<Result<>> refuse_compressed() {
    const auto look = [this](HostOffset table) -> Task<Result<>> {
      for (std::uint64_t at = 0; at < image_.cluster_size(); at += format::kEntryBytes) {
        CO_TRY(const std::uint64_t word,
               co_await image_.tables_.entry(table + at, Tables::Kind::l2));
        if ((word & format::kCompressed) != 0)
          co_return refuse(
              "Cannot downgrade an image with zstd compression type and existing compressed "
              "clusters",
              ENOTSUP);
      }
      co_return ok();
    };
    CO_TRY_OK(co_await for_each_table(header().l1_table_offset, header().l1_size, look));
    for (const Snapshot& snapshot : image_.snapshots_)
      CO_TRY_OK(co_await for_each_table(snapshot.l1_table_offset, snapshot.l1_size, look));
    co_return ok();
  }

  // Version 2 has no zero clusters: they become data, or absent where nothing is below.
  Task<Result<>> expand(HostOffset l1, std::uint32_t entries) {
    const auto expand_one = [this](HostOffset table) { return expand_table(table); };
    auto expanded = co_await for_each_table(l1, entries, expand_one);
    if (!expanded)
      co_return os_error(expanded.error().number, "Failed to turn zero into data clusters");
    co_return ok();
  }

  Task<Result<>> expand_table(HostOffset table) {
    const Geometry geometry = image_.geometry_;
    CO_TRY(const std::uint64_t users, co_await image_.refcounts_.count(geometry.cluster_of(table)));
    for (std::uint64_t at = 0; at < geometry.cluster_bytes(); at += format::kEntryBytes) {
      CO_TRY(const std::uint64_t word, co_await image_.tables_.entry(table + at, Tables::Kind::l2));
      if ((word & format::kCompressed) != 0 || (word & format::kZero) == 0) continue;
      HostOffset host{word & format::kOffsetMask};
      if (host.value == 0 && image_.backing_ == nullptr) {
        CO_TRY_OK(co_await image_.tables_.set_entry(table + at, 0, Tables::Kind::l2));
        continue;
      }
      if (host.value == 0) {
        CO_TRY(const HostCluster made, co_await image_.refcounts_.allocate(1));
        host = geometry.start_of(made);
        for (std::uint64_t i = 1; i < users; ++i)
          CO_TRY_OK(co_await image_.refcounts_.raise(made, 1));
      }
      if (geometry.within(host) != 0) co_return os_error(EIO);
      CO_TRY_OK(co_await image_.file_->write_zeroes(host.value, geometry.cluster_bytes(), false));
      CO_TRY_OK(co_await image_.tables_.set_entry(
          table + at, host.value | (users == 1 ? format::kCopied : 0), Tables::Kind::l2));
    }
    co_return ok();
  }

  Image& image_;
  AmendOptions options_;
};

Task<Result<>> amend(Image& image, AmendOptions options) {
  Amender amender(image, std::move(options));
  co_return co_await amender.run();
}

}  // namespace sim::qcow2
