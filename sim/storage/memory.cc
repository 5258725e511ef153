#include "sim/storage/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "sim/base/check.h"

namespace sim::storage {

// Pages are cut from chunks of anonymous memory and never given back to the system while a file or
// the thread lives: a scenario's files reuse the pages of the last one's, which are warm.  What a
// recycled page holds is left over from its last use.  After some, chunks are large pages where the
// system has them: large files then cost it fewer faults.
//
// The first page of a chunk counts the users of each of its pages.
class PageArena {
 public:
  PageArena() = default;
  PageArena(const PageArena&) = delete;
  PageArena& operator=(const PageArena&) = delete;
  ~PageArena() {
    for (void* mapping : mappings_) munmap(mapping, kMapping);
  }

  static std::shared_ptr<PageArena> of_this_thread() {
    thread_local const auto arena = std::make_shared<PageArena>();
    return arena;
  }

  std::byte* take() {
    if (free_.empty()) grow();
    std::byte* page = free_.back();
    free_.pop_back();
    users_of(page) = 1;
    return page;
  }
  static void share(std::byte* page) { ++users_of(page); }
  static bool is_shared(std::byte* page) { return users_of(page) > 1; }
  void give_back(std::byte* page) {
    if (--users_of(page) == 0) free_.push_back(page);
  }

 private:
  static constexpr std::size_t kPageSize = MemoryFile::kPageSize;
  static constexpr std::size_t kChunk = std::size_t{2} << 20;
  static constexpr std::size_t kMapping = std::size_t{64} << 20;  // of addresses, not of memory
  static constexpr unsigned kSmallChunks = 8;
  static_assert(kChunk / kPageSize * sizeof(std::uint32_t) <= kPageSize);

  static std::uint32_t& users_of(std::byte* page) {
    const std::size_t within = reinterpret_cast<std::uintptr_t>(page) % kChunk;
    return reinterpret_cast<std::uint32_t*>(page - within)[within / kPageSize];
  }

  void grow() {
    if (next_ == nullptr || next_ + kChunk > end_) map();
    if (grown_++ >= kSmallChunks) madvise(next_, kChunk, MADV_HUGEPAGE);
    for (std::size_t at = kChunk - kPageSize; at > 0; at -= kPageSize) free_.push_back(next_ + at);
    next_ += kChunk;
  }

  void map() {
    void* mapping = mmap(nullptr, kMapping, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapping != MAP_FAILED, "out of memory");
    mappings_.push_back(mapping);
    std::size_t left = kMapping;
    void* aligned = mapping;
    CHECK(std::align(kChunk, kChunk, aligned, left) != nullptr);
    next_ = static_cast<std::byte*>(aligned);
    end_ = next_ + left;
  }

  std::vector<void*> mappings_;
  std::vector<std::byte*> free_;
  std::byte *next_ = nullptr, *end_ = nullptr;  // what is left of the last mapping
  unsigned grown_ = 0;
};

static constexpr std::uint64_t kPage = MemoryFile::kPageSize;

// True if [offset, offset + length) lies within what a file can be.
static bool possible(std::uint64_t offset, std::uint64_t length) {
  return offset <= MemoryFile::kMaxSize && length <= MemoryFile::kMaxSize - offset;
}

// Files of this many bytes do not stay in the processor's caches: writing past these spares reading
// what is overwritten.
static constexpr std::uint64_t kBeyondCaches = std::uint64_t{64} << 20;

// Copies a whole page past the caches.
static void stream_page(std::byte* page, const std::byte* from) {
  using Words = std::uint64_t __attribute__((vector_size(16)));
  for (std::size_t at = 0; at < kPage; at += sizeof(Words)) {
    Words words;
    std::memcpy(&words, from + at, sizeof(words));
    __builtin_nontemporal_store(words, reinterpret_cast<Words*>(page + at));
  }
}

MemoryFile::MemoryFile() : arena_(PageArena::of_this_thread()) {}

MemoryFile::~MemoryFile() { drop_pages(0, UINT64_MAX); }

std::byte* MemoryFile::page_at(std::uint64_t page) const {
  const std::uint64_t index = page / kLeafPages;
  if (index != last_index_) {
    const auto found = leaves_.find(index);
    if (found == leaves_.end()) return nullptr;
    last_index_ = index;
    last_leaf_ = found->second.get();
  }
  return last_leaf_->pages[page % kLeafPages];
}

std::byte*& MemoryFile::slot_of(std::uint64_t page) {
  const std::uint64_t index = page / kLeafPages;
  (void)page_at(page);  // the leaf is now the last one, if it is there
  if (index != last_index_) {
    auto& leaf = leaves_[index];
    if (!leaf) leaf = std::make_unique<Leaf>();
    last_index_ = index;
    last_leaf_ = leaf.get();
  }
  return last_leaf_->pages[page % kLeafPages];
}

std::byte* MemoryFile::page_to_write(std::uint64_t page, std::uint64_t from, std::uint64_t to) {
  std::byte*& slot = slot_of(page);
  if (slot != nullptr && !PageArena::is_shared(slot)) return slot;
  std::byte* fresh = arena_->take();
  if (slot == nullptr) {
    ++last_leaf_->used;
    ++pages_;
    std::memset(fresh, 0, from);
    std::memset(fresh + to, 0, kPage - to);
  } else {
    std::memcpy(fresh, slot, from);
    std::memcpy(fresh + to, slot + to, kPage - to);
    arena_->give_back(slot);
  }
  return slot = fresh;
}

std::shared_ptr<MemoryFile> MemoryFile::copy() const {
  auto copied = std::make_shared<MemoryFile>();
  CHECK(copied->arena_ == arena_, "pages are shared within a thread");
  copied->size_ = size_;
  copied->pages_ = pages_;
  for (const auto& [index, leaf] : leaves_) {
    for (std::byte* page : leaf->pages)
      if (page != nullptr) PageArena::share(page);
    copied->leaves_.emplace_hint(copied->leaves_.end(), index, std::make_unique<Leaf>(*leaf));
  }
  return copied;
}

// Makes the pages [first, last) holes.
void MemoryFile::drop_pages(std::uint64_t first, std::uint64_t last) {
  for (auto leaf = leaves_.lower_bound(first / kLeafPages); leaf != leaves_.end();) {
    const std::uint64_t base = leaf->first * kLeafPages;
    if (base >= last) break;
    Leaf& pages = *leaf->second;
    const std::uint64_t from = first > base ? first - base : 0;
    const std::uint64_t to = std::min(last - base, kLeafPages);
    for (std::uint64_t i = from; i < to && pages.used > 0; ++i) {
      if (pages.pages[i] == nullptr) continue;
      arena_->give_back(std::exchange(pages.pages[i], nullptr));
      --pages.used;
      --pages_;
    }
    leaf = pages.used == 0 ? leaves_.erase(leaf) : std::next(leaf);
  }
  last_index_ = UINT64_MAX;
  last_leaf_ = nullptr;
}

bool MemoryFile::reads_as(const MemoryFile& other) const {
  if (size_ != other.size_) return false;
  static const Leaf kHole;
  static constexpr std::array<std::byte, kPage> kZeroes{};
  const auto same = [](const Leaf& left, const Leaf& right) {
    for (std::uint64_t i = 0; i < kLeafPages; ++i) {
      const std::byte *a = left.pages[i], *b = right.pages[i];
      if (a == b) continue;
      if (std::memcmp(a ? a : kZeroes.data(), b ? b : kZeroes.data(), kPage) != 0) return false;
    }
    return true;
  };
  for (const auto& [index, leaf] : leaves_) {
    const auto its = other.leaves_.find(index);
    if (!same(*leaf, its == other.leaves_.end() ? kHole : *its->second)) return false;
  }
  return std::ranges::all_of(other.leaves_, [&](const auto& its) {
    return leaves_.contains(its.first) || same(kHole, *its.second);
  });
}

void MemoryFile::read_now(std::uint64_t offset, MutableBytes into) const {
  while (!into.empty()) {
    const std::uint64_t within = offset % kPage;
    const std::size_t part = std::min<std::size_t>(into.size(), kPage - within);
    const std::byte* page = offset < size_ ? page_at(offset / kPage) : nullptr;
    if (page != nullptr)
      std::memcpy(into.data(), page + within, part);
    else
      std::memset(into.data(), 0, part);
    into = into.subspan(part);
    offset += part;
  }
}

void MemoryFile::visit_now(std::uint64_t offset, std::uint64_t length, const See& see) const {
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const Extent extent =
        offset < size_ ? extent_at(offset) : Extent{.length = end - offset, .data = false};
    const std::uint64_t stop = std::min(end, offset + extent.length);
    if (!extent.data) see(stop - offset, {});
    for (; extent.data && offset < stop;) {
      const std::uint64_t within = offset % kPage;
      const std::uint64_t part = std::min(stop - offset, kPage - within);
      see(part, Bytes(page_at(offset / kPage) + within, part));
      offset += part;
    }
    offset = stop;
  }
}

void MemoryFile::write_now(std::uint64_t offset, Bytes from) {
  CHECK(possible(offset, from.size()));
  if (from.empty()) return;
  size_ = std::max(size_, offset + from.size());
  while (!from.empty()) {
    const std::uint64_t within = offset % kPage;
    const std::size_t part = std::min<std::size_t>(from.size(), kPage - within);
    std::byte* page = page_to_write(offset / kPage, within, within + part);
    if (part == kPage && pages_ > kBeyondCaches / kPage)
      stream_page(page, from.data());
    else
      std::memcpy(page + within, from.data(), part);
    from = from.subspan(part);
    offset += part;
  }
}

// Whole pages become holes, the ends are zeroed where there is data.  What lies in the last page
// beyond the end of the file counts as covered.
void MemoryFile::zero_now(std::uint64_t offset, std::uint64_t length) {
  std::uint64_t end = offset + length;
  if (end >= size_) end = std::max(offset, align_up(size_, kPage));
  const auto zero_within = [this](std::uint64_t from, std::uint64_t to) {
    if (from == to || page_at(from / kPage) == nullptr) return;
    const std::uint64_t within = from % kPage;
    std::byte* page = page_to_write(from / kPage, within, within + (to - from));
    std::memset(page + within, 0, to - from);
  };
  const std::uint64_t first = align_up(offset, kPage);
  const std::uint64_t last = align_down(end, kPage);
  if (first > last) return zero_within(offset, end);  // inside one page
  zero_within(offset, first);
  drop_pages(first / kPage, last / kPage);
  zero_within(last, end);
}

void MemoryFile::write_zeroes_now(std::uint64_t offset, std::uint64_t length) {
  CHECK(possible(offset, length));
  zero_now(offset, length);
  if (length > 0) size_ = std::max(size_, offset + length);
}

void MemoryFile::discard_now(std::uint64_t offset, std::uint64_t length) {
  if (offset < size_) zero_now(offset, std::min(length, size_ - offset));
}

void MemoryFile::truncate_now(std::uint64_t size) {
  CHECK(possible(0, size));
  if (size < size_) zero_now(size, size_ - size);
  size_ = size;
}

Task<Result<>> MemoryFile::read(std::uint64_t offset, MutableBytes into) {
  read_now(offset, into);
  co_return ok();
}

Task<Result<>> MemoryFile::write(std::uint64_t offset, Bytes from) {
  if (!possible(offset, from.size())) co_return os_error(EFBIG);
  write_now(offset, from);
  co_return ok();
}

Task<Result<>> MemoryFile::write_zeroes(std::uint64_t offset, std::uint64_t length, bool) {
  if (!possible(offset, length)) co_return os_error(EFBIG);
  write_zeroes_now(offset, length);
  co_return ok();
}

Task<Result<>> MemoryFile::discard(std::uint64_t offset, std::uint64_t length) {
  discard_now(offset, length);
  co_return ok();
}

Task<Result<>> MemoryFile::flush() { co_return ok(); }

Task<Result<>> MemoryFile::truncate(std::uint64_t size) {
  if (!possible(0, size)) co_return os_error(EFBIG);
  truncate_now(size);
  co_return ok();
}

Extent MemoryFile::extent_at(std::uint64_t offset) const {
  CHECK(offset < size_);
  const std::uint64_t end = div_up(size_, kPage);
  const std::uint64_t first = offset / kPage;
  const bool data = page_at(first) != nullptr;
  std::uint64_t page = first;
  auto leaf = leaves_.lower_bound(page / kLeafPages);
  while (page < end) {
    const std::uint64_t base = page / kLeafPages * kLeafPages;
    if (leaf == leaves_.end() || leaf->first * kLeafPages > page) {  // a hole goes on to there
      if (data) break;
      page = leaf == leaves_.end() ? end : leaf->first * kLeafPages;
      continue;
    }
    const Leaf& pages = *leaf->second;
    std::uint64_t i = page - base;
    if (data && pages.used == kLeafPages)
      i = kLeafPages;
    else
      while (i < kLeafPages && (pages.pages[i] != nullptr) == data) ++i;
    page = base + i;
    if (i < kLeafPages) break;
    ++leaf;
  }
  return {std::min(std::min(page, end) * kPage, size_) - offset, data};
}

Task<Result<>> ReadOnly::write(std::uint64_t, Bytes) { co_return os_error(EBADF); }
Task<Result<>> ReadOnly::write_zeroes(std::uint64_t, std::uint64_t, bool) {
  co_return os_error(EBADF);
}
Task<Result<>> ReadOnly::discard(std::uint64_t, std::uint64_t) { co_return os_error(EBADF); }
Task<Result<>> ReadOnly::truncate(std::uint64_t) { co_return os_error(EBADF); }

bool MemoryFiles::is_directory(const std::string& path) const {
  const std::string prefix = path.ends_with('/') ? path : path + '/';
  const auto next = files_.lower_bound(prefix);
  return next != files_.end() && next->first.starts_with(prefix);
}

std::shared_ptr<MemoryFile> MemoryFiles::find(const std::string& path) const {
  const auto found = files_.find(path);
  if (found != files_.end()) return found->second;
  // "/a/./b": there are no links, so that what is meant is in the text.
  if (!path.contains("/.") && !path.contains("//")) return nullptr;
  const auto meant = files_.find(std::filesystem::path(path).lexically_normal());
  return meant == files_.end() ? nullptr : meant->second;
}

Result<std::shared_ptr<Storage>> MemoryFiles::open(const std::string& path, Access access) {
  std::shared_ptr<Storage> file = find(path);
  if (!file) return os_error(is_directory(path) ? EISDIR : ENOENT);
  if (access == Access::read_only)
    return std::shared_ptr<Storage>(std::make_shared<ReadOnly>(file));
  return file;
}

Result<std::shared_ptr<Storage>> MemoryFiles::create(const std::string& path) {
  if (path.empty()) return os_error(ENOENT);
  if (path.ends_with('/') || is_directory(path)) return os_error(EISDIR);
  if (!only_in_.empty() && path.substr(0, path.rfind('/')) != only_in_) return os_error(ENOENT);
  auto& file = files_[path];
  if (!file)
    file = std::make_shared<MemoryFile>();
  else
    file->truncate_now(0);
  return std::shared_ptr<Storage>(file);
}

bool MemoryFiles::exists(const std::string& path) const { return find(path) != nullptr; }

Result<> MemoryFiles::remove(const std::string& path) {
  if (files_.erase(path) > 0) return ok();
  return os_error(is_directory(path) ? EISDIR : ENOENT);
}

Result<> MemoryFiles::rename(const std::string& from, const std::string& to) {
  const auto found = files_.find(from);
  if (found == files_.end()) return os_error(ENOENT);
  if (is_directory(to)) return os_error(EISDIR);
  std::shared_ptr<MemoryFile> file = std::move(found->second);
  files_.erase(found);
  files_[to] = std::move(file);
  return ok();
}

std::vector<std::string> MemoryFiles::list(const std::string& directory) const {
  const std::string prefix = directory.ends_with('/') ? directory : directory + '/';
  std::vector<std::string> paths;
  for (auto at = files_.lower_bound(prefix); at != files_.end() && at->first.starts_with(prefix);
       ++at)
    paths.push_back(at->first);
  return paths;
}

}  // namespace sim::storage
