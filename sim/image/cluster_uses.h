// What each host cluster is used for.  Memory follows what is used.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

namespace sim::image {

struct ClusterUse {
  enum class Kind : unsigned char {
    none,
    header,
    refcount_table,
    refcount_block,
    l1,
    l2,
    data,
    compressed,
    snapshot_table,
    snapshot_l1,
    bitmap_directory,
    bitmap_table,
    bitmap_data,
    encryption,
  };
  Kind kind = Kind::none;
  bool conflict = false;    // two kinds that exclude each other
  std::uint16_t times = 0;  // how often it is referred to, at most 65535
  friend bool operator==(ClusterUse, ClusterUse) = default;
};

class ClusterUses {
 public:
  static constexpr std::uint64_t kPage = 1024;
  static constexpr std::uint64_t kPagesMax = 24576;  // 96 MiB

  // False if there is no memory left for it.
  bool add(std::uint64_t cluster, ClusterUse::Kind kind) {
    auto& page = pages_[cluster / kPage];
    if (!page) {
      if (pages_.size() > kPagesMax) {
        pages_.erase(cluster / kPage);
        return false;
      }
      page = std::make_unique<Page>();
    }
    ClusterUse& use = (*page)[cluster % kPage];
    if (use.kind != ClusterUse::Kind::none && use.kind != kind) use.conflict = true;
    use.kind = kind;
    if (use.times < UINT16_MAX) ++use.times;
    return true;
  }
  ClusterUse get(std::uint64_t cluster) const {
    const auto page = pages_.find(cluster / kPage);
    return page == pages_.end() ? ClusterUse{} : (*page->second)[cluster % kPage];
  }
  // The first cluster at or after `from` that may be used; UINT64_MAX: there is none.
  std::uint64_t next_used(std::uint64_t from) const {
    const auto page = pages_.lower_bound(from / kPage);
    if (page == pages_.end()) return UINT64_MAX;
    return std::max(from, page->first * kPage);
  }

 private:
  using Page = std::array<ClusterUse, kPage>;
  std::map<std::uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace sim::image
