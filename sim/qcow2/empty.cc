// Emptying an image: as if it had just been created, over the same backing file.

#include <algorithm>
#include <array>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

Task<Result<>> Image::make_empty() {
  CO_TRY_OK(check_change({0}, 0));
  CO_TRY_OK(co_await flush());
  const auto held = co_await lock_landed({0}, size_);
  // As QEMU decides it.
  const std::uint64_t clusters = 3 + geometry_.clusters_for(l1_bytes());
  const std::uint64_t counted = (cluster_size() * 8) >> header_.refcount_order;
  const bool anew = header_.version >= 3 && header_.nb_snapshots == 0 && !header_.bitmaps &&
                    !header_.crypto && !header_.has_data_file() && clusters <= counted;
  if (anew) co_return co_await start_anew(clusters);
  co_return co_await give_up_all();
}

// Lays the tables out as in a new image (format.md, "Worked example"): refcount table, block, L1
// table in the clusters from 1 on.  The image is marked dirty meanwhile: after a cut, whoever opens
// it counts anew what the L1 table, empty by then, refers to.
Task<Result<>> Image::start_anew(std::uint64_t clusters) {
  header_.incompatible_features |= format::kIncompatibleDirty;
  stays_dirty_ = true;  // until it is done: closing must not say that all is well
  CO_TRY_OK(co_await store_header());
  if (header_.l1_size > 0)
    CO_TRY_OK(co_await file_->discard(header_.l1_table_offset.value, l1_bytes()));
  CO_TRY_OK(co_await file_->flush());

  CO_TRY_OK(co_await file_->write_zeroes(cluster_size(), (clusters - 1) * cluster_size(), false));
  std::array<std::byte, format::kEntryBytes> entry{};
  store_be(MutableBytes(entry), 0, 2 * cluster_size());
  CO_TRY_OK(co_await file_->write(cluster_size(), entry));
  std::vector<std::byte> block(cluster_size());
  for (std::uint64_t i = 0; i < clusters; ++i) store_count(block, i, header_.refcount_order, 1);
  CO_TRY_OK(co_await file_->write(2 * cluster_size(), block));
  CO_TRY_OK(co_await file_->flush());

  header_.refcount_table_offset = {cluster_size()};
  header_.refcount_table_clusters = 1;
  header_.l1_table_offset = {3 * cluster_size()};
  tables_.forget({0}, geometry_.clusters_for(file_->size()));
  tables_.defer_refcounts(false);
  CO_TRY_OK(co_await store_header());
  CO_TRY_OK(co_await file_->truncate(clusters * cluster_size()));
  header_.incompatible_features &= ~format::kIncompatibleDirty;
  stays_dirty_ = false;
  CO_TRY_OK(co_await store_header());
  co_return co_await learn_metadata();
}

// Table by table: what is mapped is given up, and what lies below shows.  Space goes back to the
// file only when the file says that nothing refers to it: what was there is not zeroes below.
Task<Result<>> Image::give_up_all() {
  const std::uint64_t clusters = geometry_.clusters_for(size_);
  std::vector<L2Entry> given_up;
  for (GuestCluster first{0}; first.value < clusters; first = first + geometry_.l2_entries()) {
    CO_TRY(const HostOffset table, co_await l2_table(first));
    if (table.value == 0) continue;
    const std::uint64_t end = std::min(first.value + geometry_.l2_entries(), clusters);
    given_up.clear();
    for (GuestCluster cluster = first; cluster.value < end; cluster = cluster + 1) {
      CO_TRY(const L2Entry old, co_await entry(cluster));
      CO_TRY_OK(check_entry(cluster, old));
      if (old == L2Entry{}) continue;
      CO_TRY_OK(co_await set_entry(cluster, {}));
      given_up.push_back(old);
    }
    CO_TRY_OK(co_await tables_.flush());
    for (const L2Entry old : given_up) CO_TRY_OK(co_await release_entry(old, true));
  }
  co_return co_await tables_.flush();
}

}  // namespace sim::qcow2
