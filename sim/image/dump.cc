#include "sim/image/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace format = qcow2::format;

std::string_view name_of(DumpSection section) {
  constexpr std::array<std::string_view, 9> kNames = {
      "header", "refcounts", "l1", "l2", "snapshots", "bitmaps", "clusters", "place", "guest"};
  return kNames.at(static_cast<std::size_t>(section));
}

std::string escaped(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto c = std::to_integer<unsigned char>(byte);
    if (c >= 0x20 && c < 0x7f && c != '\\')
      text += static_cast<char>(c);
    else
      text += fmt::format("\\x{:02x}", c);
  }
  return text;
}

std::string index_range(std::uint64_t first, std::uint64_t count) {
  return count == 1 ? fmt::format("[{}]", first)
                    : fmt::format("[{}..{}]", first, first + count - 1);
}

Task<Result<Dumped>> dump(storage::Storage& file, DumpRequest request, DumpSink& sink) {
  Dumper dumper(file, request, sink);
  co_return co_await dumper.run();
}

bool Dumper::has_data_file() const {
  return stored_.version >= 3 && (stored_.incompatible & format::kIncompatibleDataFile) != 0;
}

Task<Result<Dumped>> Dumper::run() {
  std::array<std::byte, 8> start{};
  CO_TRY_OK(co_await file_.read(0, start));
  if (load_be<std::uint32_t>(start, 0) != format::kMagic)
    co_return Error{ErrorClass::generic, "Image is not in qcow2 format", EINVAL};
  if (request_.at) sink_.section(DumpSection::place);
  if (request_.guest) sink_.section(DumpSection::guest);
  co_await header();
  if (stored_.cluster_bits < format::kClusterBitsMin ||
      stored_.cluster_bits > format::kClusterBitsMax) {
    dumped_.complete = false;  // nothing else has a place
    co_return dumped_;
  }
  co_await refcounts();
  if (request_.guest) {
    co_await walk_guest();
    co_return dumped_;
  }
  const Tree active{.l1 = stored_.l1_offset, .entries = stored_.l1_size};
  co_await l1(active);
  co_await l2_tables(active);
  co_await snapshots();
  co_await bitmaps();
  co_await clusters();
  dumped_.complete = dumped_.complete && !exhausted_;
  co_return dumped_;
}

void Dumper::note_problems(const DumpRecord& record) {
  dumped_.problems += record.problems.size();
  exhausted_ = exhausted_ || ++records_ >= kRecordsMax;
}

void Dumper::show(const DumpRecord& record) {
  if (exhausted_) return;
  note_problems(record);
  sink_.record(record);
}

void Dumper::begin(const DumpRecord& record) {
  if (exhausted_) return;
  note_problems(record);
  sink_.table(record);
}

Task<bool> Dumper::read(std::uint64_t at, MutableBytes into, std::string what) {
  work_ += into.size();
  exhausted_ = exhausted_ || work_ > kWorkMax;
  if (exhausted_) co_return false;
  const auto got = co_await file_.read(at, into);
  if (got) co_return true;
  std::ranges::fill(into, std::byte{0});
  if (!request_.at && !request_.guest)
    show({.kind = "unreadable",
          .offset = at,
          .bytes = into.size(),
          .meaning = what,
          .problems = {"cannot be read: " + got.error().desc}});
  co_return false;
}

// The problems of an offset that a table or the header holds.
void Dumper::describe_place(std::vector<std::string>& problems, std::uint64_t host,
                            std::uint64_t align) const {
  if (host % align != 0) problems.emplace_back("not at a multiple of the cluster size");
  if (host >= file_.size()) problems.emplace_back("beyond the end of the file");
}

void Dumper::use(ClusterUse::Kind kind, std::uint64_t host, std::uint64_t bytes,
                 const std::string& what) {
  if (bytes == 0 || host >= format::kHostOffsetEnd || exhausted_) return;
  bytes = std::min(bytes, format::kHostOffsetEnd - host);
  if (request_.at) {
    if (*request_.at < host || *request_.at - host >= bytes) return;
    show({.kind = "use",
          .offset = host,
          .bytes = bytes,
          .name = fmt::format("+{:#x}", *request_.at - host),
          .meaning = what,
          .fields = {{"what", what}, {"within", *request_.at - host}}});
    return;
  }
  const std::uint64_t first = host >> geometry_.cluster_bits;
  const std::uint64_t last = (host + bytes - 1) >> geometry_.cluster_bits;
  for (std::uint64_t cluster = first; cluster <= last && !exhausted_; ++cluster) {
    work_ += kClusterCost;
    exhausted_ = !uses_.add(cluster, kind) || work_ > kWorkMax;
  }
}

}  // namespace sim::image
