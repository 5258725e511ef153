// How often each host cluster is referred to, while a check counts.  Memory follows what is
// counted, not the length of the file: a sparse file of many TiB costs what it holds.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace sim::qcow2 {

class ClusterCounts {
 public:
  static constexpr std::uint64_t kPage = 2048;  // clusters

  // All counts are 0.  `clusters` is below 2^31 (QEMU's limit of a check).
  explicit ClusterCounts(std::uint64_t clusters) { grow(clusters); }

  std::uint64_t size() const { return size_; }  // clusters
  void grow(std::uint64_t clusters);
  void clear();

  std::uint64_t get(std::uint64_t cluster) const {
    const auto& page = pages_[cluster / kPage];
    if (!page) return 0;
    return page->wide ? (*page->wide)[cluster % kPage] : page->narrow[cluster % kPage];
  }
  void set(std::uint64_t cluster, std::uint64_t count);
  // Counts the first reference where that is quick: nothing is allocated.  False if it was not
  // done.
  bool count_first(std::uint64_t cluster) {
    if (cluster >= size_) return false;
    const auto& page = pages_[cluster / kPage];
    if (!page || page->wide || page->narrow[cluster % kPage] != 0) return false;
    page->narrow[cluster % kPage] = 1;
    return true;
  }
  // The counts of the page that begins at `first`, if there is one and all of them are small.
  const std::uint8_t* small_page(std::uint64_t first) const {
    const auto& page = pages_[first / kPage];
    return page && !page->wide ? page->narrow.data() : nullptr;
  }
  // The first cluster at or after `from` whose count may not be 0; size() if there is none.
  std::uint64_t next_used(std::uint64_t from) const;

  std::uint64_t memory() const { return memory_; }  // bytes that the counts take, about

 private:
  // Most counts are small; a page turns wide when one of its counts is not.
  struct Page {
    std::array<std::uint8_t, kPage> narrow{};
    std::unique_ptr<std::array<std::uint64_t, kPage>> wide;
  };

  std::vector<std::unique_ptr<Page>> pages_;
  std::uint64_t size_ = 0;
  std::uint64_t memory_ = 0;
};

}  // namespace sim::qcow2
