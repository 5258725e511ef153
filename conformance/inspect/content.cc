#include "conformance/inspect/content.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "sim/base/bytes.h"

namespace conformance::inspect {

namespace {

constexpr std::size_t kSector = 512;
constexpr unsigned kMostRunsInSector = 16;

std::uint64_t end_of(const Content& content) {
  return content.runs.empty() ? 0 : content.runs.back().offset + content.runs.back().length;
}

bool uniform(sim::Bytes bytes) {
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

void append_uniform(Content& content, std::byte value, std::uint64_t length, bool zero_is_hole) {
  const bool hole = zero_is_hole && value == std::byte{0};
  const ContentRun run{.offset = end_of(content),
                       .length = length,
                       .kind = hole ? Kind::zero : Kind::data,
                       .pattern = std::to_integer<std::uint8_t>(value)};
  if (!content.runs.empty()) {
    ContentRun& last = content.runs.back();
    if (last.kind == run.kind && last.pattern == run.pattern) {
      last.length += length;
      return;
    }
  }
  content.runs.push_back(run);
}

void append_sector(Content& content, sim::Bytes sector, bool zero_is_hole) {
  std::array<std::size_t, kMostRunsInSector + 1> ends{};
  std::size_t count = 0;
  for (std::size_t at = 0; at < sector.size() && count < ends.size();) {
    std::size_t end = at + 1;
    while (end < sector.size() && sector[end] == sector[at]) ++end;
    ends[count++] = end;
    at = end;
  }
  if (count > kMostRunsInSector) {
    content.runs.push_back({.offset = end_of(content),
                            .length = sector.size(),
                            .kind = Kind::data,
                            .pattern = std::nullopt,
                            .mixed_at = static_cast<std::uint32_t>(content.mixed.size())});
    content.mixed.insert(content.mixed.end(), sector.begin(), sector.end());
    return;
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    append_uniform(content, sector[at], ends[i] - at, zero_is_hole);
    at = ends[i];
  }
}

}  // namespace

void append_hole(Content& content, std::uint64_t length, Kind kind) {
  if (length == 0) return;
  if (!content.runs.empty() && content.runs.back().kind == kind) {
    content.runs.back().length += length;
    return;
  }
  ContentRun run{.offset = end_of(content), .length = length, .kind = kind, .pattern = {}};
  if (kind == Kind::zero) run.pattern = std::uint8_t{0};
  content.runs.push_back(run);
}

void append_data(Content& content, sim::Bytes bytes, bool zero_is_hole) {
  if (bytes.empty()) return;
  if (uniform(bytes)) return append_uniform(content, bytes[0], bytes.size(), zero_is_hole);
  for (std::size_t at = 0; at < bytes.size(); at += kSector) {
    const sim::Bytes sector = bytes.subspan(at, std::min(kSector, bytes.size() - at));
    if (uniform(sector))
      append_uniform(content, sector[0], sector.size(), zero_is_hole);
    else
      append_sector(content, sector, zero_is_hole);
  }
}

sim::Result<> append_file(Content& content, const Files& files, const std::string& path,
                          std::uint64_t offset, std::uint64_t length, bool zero_is_hole) {
  return files.visit(path, offset, length, [&](std::uint64_t part, sim::Bytes bytes) {
    if (bytes.empty())
      append_uniform(content, std::byte{0}, part, zero_is_hole);
    else
      append_data(content, bytes, zero_is_hole);
  });
}

std::vector<Run> kinds_of(const Content& content) {
  std::vector<Run> runs;
  for (const ContentRun& run : content.runs) {
    if (!runs.empty() && runs.back().kind == run.kind)
      runs.back().length += run.length;
    else
      runs.push_back({.offset = run.offset, .length = run.length, .kind = run.kind});
  }
  return runs;
}

}  // namespace conformance::inspect
