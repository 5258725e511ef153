#include "sim/qcow2/cluster_counts.h"

#include <algorithm>

#include "sim/base/bytes.h"

namespace sim::qcow2 {

void ClusterCounts::grow(std::uint64_t clusters) {
  if (clusters <= size_) return;
  size_ = clusters;
  pages_.resize(div_up(clusters, kPage));
}

void ClusterCounts::clear() {
  for (auto& page : pages_) page.reset();
  memory_ = 0;
}

void ClusterCounts::set(std::uint64_t cluster, std::uint64_t count) {
  auto& page = pages_[cluster / kPage];
  if (!page) {
    if (count == 0) return;
    page = std::make_unique<Page>();
    memory_ += sizeof(Page);
  }
  if (!page->wide && count > UINT8_MAX) {
    page->wide = std::make_unique<std::array<std::uint64_t, kPage>>();
    std::ranges::copy(page->narrow, page->wide->begin());
    memory_ += sizeof(*page->wide);
  }
  if (page->wide) {
    (*page->wide)[cluster % kPage] = count;
  } else {
    page->narrow[cluster % kPage] = static_cast<std::uint8_t>(count);
  }
}

std::uint64_t ClusterCounts::next_used(std::uint64_t from) const {
  while (from < size_) {
    if (pages_[from / kPage]) {
      if (get(from) != 0) return from;
      ++from;
    } else {
      from = align_down(from, kPage) + kPage;
    }
  }
  return size_;
}

}  // namespace sim::qcow2
