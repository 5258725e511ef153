#include "conformance/domain/chain.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "conformance/domain/errors.h"
#include "sim/base/bytes.h"

namespace conformance {

namespace {

// libvirt gives up beyond this many images.
constexpr unsigned kMaxDepth = 200;

// The qcow2 header's fields as far as they are needed (docs/interop/qcow2.txt of QEMU).
constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kBackingOffsetAt = 8;
constexpr std::size_t kBackingSizeAt = 16;
constexpr std::size_t kHeaderLengthAt = 100;  // version 3 only
constexpr std::size_t kVersion2Length = 72;
constexpr std::size_t kHeaderRead = 104;
constexpr std::uint32_t kMaxBackingName = 1023;
constexpr std::uint64_t kMaxCluster = 2U << 20;  // the name lies in the first cluster
constexpr std::uint32_t kBackingFormatExtension = 0xe2792aca;

struct Header {
  bool qcow2 = false;
  std::string backing_name;    // empty: nothing beneath
  std::string backing_format;  // empty: not told
};

std::string text_of(sim::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The value of the backing format extension; extensions lie between the header and the name.
std::string backing_format(sim::Bytes head, std::size_t from, std::size_t to) {
  while (from + 8 <= to) {
    const auto magic = sim::load_be<std::uint32_t>(head, from);
    const std::uint64_t length = sim::load_be<std::uint32_t>(head, from + 4);
    from += 8;
    if (magic == 0 || length > to - from) return {};
    if (magic == kBackingFormatExtension) return text_of(head.subspan(from, length));
    from += std::min<std::uint64_t>(sim::align_up(length, 8), to - from);
  }
  return {};
}

DomainFailure unreadable(const std::string& path, const sim::Error& error) {
  return TargetFailure{TargetFailure::Kind::harness, "reading " + path + ": " + error.desc};
}

// Nonsense in a header is left to QEMU to complain of: it counts as nothing beneath.
DomainResult<Header> read_header(const Files& files, const std::string& path) {
  std::array<std::byte, kHeaderRead> fixed{};
  if (auto read = files.read(path, 0, fixed); !read)
    return std::unexpected(unreadable(path, read.error()));
  Header header;
  const auto version = sim::load_be<std::uint32_t>(fixed, kVersionAt);
  if (sim::load_be<std::uint32_t>(fixed, 0) != kMagic || version < 2 || version > 3) return header;
  header.qcow2 = true;

  const auto offset = sim::load_be<std::uint64_t>(fixed, kBackingOffsetAt);
  const auto size = sim::load_be<std::uint32_t>(fixed, kBackingSizeAt);
  if (offset == 0 || size == 0 || size > kMaxBackingName || offset > kMaxCluster - size)
    return header;
  std::vector<std::byte> head(offset + size);
  if (auto read = files.read(path, 0, head); !read)
    return std::unexpected(unreadable(path, read.error()));
  header.backing_name = text_of(sim::Bytes(head).subspan(offset, size));
  const std::size_t extensions =
      version == 2 ? kVersion2Length : sim::load_be<std::uint32_t>(fixed, kHeaderLengthAt);
  if (extensions < offset) header.backing_format = backing_format(head, extensions, offset);
  return header;
}

bool is_file_name(std::string_view name) {
  return !name.starts_with("json:") && name.find("://") == std::string_view::npos &&
         !name.starts_with("nbd:");
}

std::string resolved(const std::string& name, const std::string& image) {
  if (name.starts_with('/')) return name;
  return image.substr(0, image.rfind('/') + 1) + name;
}

// `source` has path and format; a format that is not told (empty) is probed.
DomainResult<void> read_beneath(const Files& files, Source& source, unsigned depth) {
  if (depth > kMaxDepth) return errors::chain_too_deep(source.path);
  const bool told = !source.format.empty();
  if (told && !can_have_backing(source.format)) {
    source.backing = Backing::terminated;
    return {};
  }
  auto header = read_header(files, source.path);
  if (!header) return std::unexpected(std::move(header).error());
  if (!told) source.format = header->qcow2 ? "qcow2" : "raw";
  source.backing = Backing::terminated;
  if (header->backing_name.empty()) return {};
  if (!is_file_name(header->backing_name))
    return errors::not_in_this_version("backing name '" + header->backing_name + "'");

  auto beneath = std::make_unique<Source>();
  beneath->path = resolved(header->backing_name, source.path);
  beneath->format = header->backing_format;
  if (!header->backing_name.starts_with('/')) beneath->relative = header->backing_name;
  if (!files.size(beneath->path)) return errors::no_backing_file(beneath->path, source.path);
  if (beneath->format.empty()) {
    auto lower = read_header(files, beneath->path);
    if (!lower) return std::unexpected(std::move(lower).error());
    if (!lower->backing_name.empty())
      return errors::no_backing_format(header->backing_name, source.path);
  }
  if (auto read = read_beneath(files, *beneath, depth + 1); !read) return read;
  source.backing = Backing::known;
  source.beneath = std::move(beneath);
  return {};
}

}  // namespace

DomainResult<std::string> probe_format(const Files& files, const std::string& path) {
  auto header = read_header(files, path);
  if (!header) return std::unexpected(std::move(header).error());
  return std::string(header->qcow2 ? "qcow2" : "raw");
}

DomainResult<bool> names_backing(const Files& files, const std::string& path) {
  auto header = read_header(files, path);
  if (!header) return std::unexpected(std::move(header).error());
  return !header->backing_name.empty();
}

DomainResult<std::unique_ptr<Source>> read_chain(const Files& files, const std::string& path,
                                                 const std::string& format) {
  if (!files.size(path)) return errors::no_storage_file(path);
  auto top = std::make_unique<Source>();
  top->path = path;
  top->format = format;
  if (auto read = read_beneath(files, *top, 1); !read)
    return std::unexpected(std::move(read).error());
  return top;
}

}  // namespace conformance
