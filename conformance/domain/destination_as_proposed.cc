// What the review of the block copy proposal (libvir-list, April 2012) asks of a destination that
// is reused: its format is named and not probed, and it is empty where what it holds would be
// mixed with, or lost under, what is copied.  libvirt 9.0 asks neither.

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "conformance/domain/chain.h"
#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "sim/base/bytes.h"

namespace conformance {

namespace {

// The qcow2 header's fields (docs/interop/qcow2.txt of QEMU), and its limits.
constexpr std::size_t kClusterBitsAt = 20;
constexpr std::size_t kL1SizeAt = 36;
constexpr std::size_t kL1OffsetAt = 40;
constexpr std::uint32_t kMinClusterBits = 9, kMaxClusterBits = 21;
constexpr std::uint32_t kMaxL1Entries = 4U << 20;
constexpr std::uint64_t kTableMask = 0x00ff'ffff'ffff'fe00;  // offset of an L2 table

DomainFailure unreadable(const std::string& path, const sim::Error& error) {
  return TargetFailure{TargetFailure::Kind::harness, "reading " + path + ": " + error.desc};
}

bool has_bytes(sim::Bytes bytes) {
  return std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte{0}; });
}

DomainResult<bool> raw_has_bytes(const Files& files, const std::string& path) {
  bool found = false;
  auto read = files.visit(path, 0, files.size(path).value_or(0),
                          [&](std::uint64_t, sim::Bytes bytes) { found |= has_bytes(bytes); });
  if (!read) return std::unexpected(unreadable(path, read.error()));
  return found;
}

// Whether any entry of any L2 table says something.  Nonsense in the header is left to QEMU to
// complain of: it counts as nothing.
DomainResult<bool> qcow2_has_clusters(const Files& files, const std::string& path) {
  std::array<std::byte, kL1OffsetAt + 8> header{};
  if (auto read = files.read(path, 0, header); !read)
    return std::unexpected(unreadable(path, read.error()));
  const auto bits = sim::load_be<std::uint32_t>(header, kClusterBitsAt);
  const auto entries = sim::load_be<std::uint32_t>(header, kL1SizeAt);
  if (bits < kMinClusterBits || bits > kMaxClusterBits || entries > kMaxL1Entries) return false;
  std::vector<std::byte> l1(std::size_t{entries} * 8);
  if (auto read = files.read(path, sim::load_be<std::uint64_t>(header, kL1OffsetAt), l1); !read)
    return std::unexpected(unreadable(path, read.error()));
  std::vector<std::byte> l2(std::size_t{1} << bits);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::uint64_t table = sim::load_be<std::uint64_t>(l1, i * 8) & kTableMask;
    if (table == 0) continue;
    if (auto read = files.read(path, table, l2); !read)
      return std::unexpected(unreadable(path, read.error()));
    if (has_bytes(l2)) return true;
  }
  return false;
}

}  // namespace

DomainResult<void> Domain::check_as_proposed(const Disk& disk, const CopyRequest& request) const {
  if (request.format.empty()) return errors::format_not_named(disk.target, request.path);
  const auto judge = [&](const DomainResult<bool>& holds) -> DomainResult<void> {
    if (!holds) return std::unexpected(holds.error());
    if (*holds) return errors::destination_not_empty(disk.target, request.path);
    return {};
  };
  // A raw one that is to lie on the backing image's contents must hold them: the caller's word.
  if (request.format == "raw")
    return request.shallow ? DomainResult<void>() : judge(raw_has_bytes(files_, request.path));
  if (!can_have_backing(request.format)) return {};
  if (auto empty = judge(qcow2_has_clusters(files_, request.path)); !empty) return empty;
  if (request.shallow) return {};
  // What shows through it would be what it holds.
  auto beneath = names_backing(files_, request.path);
  return judge(beneath);
}

}  // namespace conformance
