#include "conformance/inspect/inspector.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>
#include "conformance/inspect/qcow2.h"
#include "sim/base/bytes.h"
#include "sim/base/check.h"

namespace conformance::inspect {

namespace {

constexpr std::size_t kMostLayers = 64;
constexpr std::array kQcow2Magic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'},
                                    std::byte{0xfb}};

sim::Result<Layer> read_raw(const Files& files, const std::string& path, std::uint64_t size) {
  Layer layer;
  layer.report.format = "raw";
  layer.report.virtual_size = size;
  TRY_OK(append_file(layer.content, files, path, 0, size, true));
  layer.report.own = kinds_of(layer.content);
  return layer;
}

sim::Result<Layer> read_qcow2(const Files& files, const std::string& path, std::uint64_t size,
                              const Passphrases& passphrases) {
  TRY(const Qcow2Header header, read_qcow2_header(files, path, size));
  TRY(const Qcow2Tables tables, read_qcow2_tables(files, path, size, header));
  Layer layer;
  layer.report.format = "qcow2";
  layer.report.virtual_size = header.size;
  layer.report.cluster_size = header.cluster_size();
  layer.report.version = header.version;
  layer.report.backing_file = header.backing_file;
  layer.report.backing_format = header.backing_format;
  layer.report.encrypted = header.encrypted;
  std::optional<SectorKey> key;
  if (header.encrypted) {
    const auto passphrase = passphrases.find(path);
    if (passphrase == passphrases.end())
      return refuse(path, "it is encrypted, and no passphrase for it is known");
    TRY(key, unlock_luks(files, path, header.luks_offset, passphrase->second));
  }
  const SectorKey* const used = key ? &*key : nullptr;
  TRY(layer.content, read_qcow2_content(files, path, header, tables, used));
  layer.report.own = kinds_of(layer.content);
  TRY(const Qcow2Snapshots snapshots, read_qcow2_snapshots(files, path, size, header));
  for (const Qcow2Snapshot& snapshot : snapshots.all) {
    Qcow2Header view = header;
    view.size = snapshot.disk_size;
    TRY(Content content, read_qcow2_content(files, path, view, snapshot.tables, used));
    layer.snapshots.push_back({snapshot.name, std::move(content)});
  }
  TRY(layer.report.check, recount(files, path, size, header, tables, snapshots));
  return layer;
}

void append(View& view, const ViewRun& run) {
  if (run.length == 0) return;
  if (!view.runs.empty() && run.pattern) {
    ViewRun& last = view.runs.back();
    if (last.pattern == run.pattern && last.layer == run.layer) {
      last.length += run.length;
      return;
    }
  }
  view.runs.push_back(run);
}

// The run that holds `offset`.
template <class Runs>
auto run_at(const Runs& runs, std::uint64_t offset) {
  return std::prev(
      std::ranges::upper_bound(runs, offset, {}, [](const auto& run) { return run.offset; }));
}

// Appends what is read in [offset, end) by the layers from `depth` down.
void append_view(View& view, const std::vector<const Layer*>& layers, std::uint32_t depth,
                 std::uint64_t offset, std::uint64_t end) {
  const Layer& layer = *layers[depth];
  const std::uint64_t size = layer.report.virtual_size;
  if (offset < std::min(end, size)) {
    for (auto run = run_at(layer.content.runs, offset); offset < std::min(end, size); ++run) {
      const std::uint64_t stop = std::min({end, size, run->offset + run->length});
      ViewRun seen{.offset = offset, .length = stop - offset, .pattern = 0, .layer = depth};
      if (run->kind == Kind::absent && depth + 1 < layers.size()) {
        append_view(view, layers, depth + 1, offset, stop);
        offset = stop;
        continue;
      }
      if (run->kind == Kind::data) seen.pattern = run->pattern;
      if (!seen.pattern) {
        const auto from = layer.content.mixed.begin() +
                          static_cast<std::ptrdiff_t>(run->mixed_at + (offset - run->offset));
        seen.mixed_at = static_cast<std::uint32_t>(view.mixed.size());
        view.mixed.insert(view.mixed.end(), from, from + static_cast<std::ptrdiff_t>(seen.length));
      }
      append(view, seen);
      offset = stop;
    }
  }
  // The layer ends before the one above it: zeroes, whatever is below.
  if (offset < end)
    append(view, {.offset = offset, .length = end - offset, .pattern = 0, .layer = depth});
}

}  // namespace

ViewByte byte_at(const View& view, std::uint64_t offset) {
  CHECK(!view.runs.empty() && offset < view.runs.back().offset + view.runs.back().length);
  const ViewRun& run = *run_at(view.runs, offset);
  const std::uint8_t value =
      run.pattern ? *run.pattern
                  : std::to_integer<std::uint8_t>(view.mixed[run.mixed_at + offset - run.offset]);
  return {.value = value, .layer = run.layer};
}

std::optional<std::uint64_t> first_difference(const View& left, const View& right) {
  auto a = left.runs.begin();
  auto b = right.runs.begin();
  std::uint64_t at = 0;
  while (a != left.runs.end() && b != right.runs.end()) {
    const std::uint64_t end = std::min(a->offset + a->length, b->offset + b->length);
    if (!(a->pattern && a->pattern == b->pattern))
      for (; at < end; ++at)
        if (byte_at(left, at).value != byte_at(right, at).value) return at;
    at = end;
    if (a->offset + a->length == at) ++a;
    if (b->offset + b->length == at) ++b;
  }
  if (a == left.runs.end() && b == right.runs.end()) return std::nullopt;
  return at;
}

sim::Result<std::string> probe_format(const Files& files, const std::string& path) {
  std::array<std::byte, kQcow2Magic.size()> magic{};
  TRY_OK(files.read(path, 0, magic));
  return std::string(magic == kQcow2Magic ? "qcow2" : "raw");
}

namespace {

// Sums up a file block by block.  A block of zeroes counts for nothing, so that it does not matter
// which of them are holes.
class Digest {
 public:
  explicit Digest(const std::vector<FileRange>& hidden) : hidden_(hidden) {}

  void add(std::uint64_t length, sim::Bytes bytes) {
    if (!bytes.empty() && at_ % kBlock == 0 && hidden_.empty())
      for (; bytes.size() >= kBlock; bytes = bytes.subspan(kBlock)) {
        add_block(at_ / kBlock, bytes.first(kBlock));
        at_ += kBlock;
        length -= kBlock;
      }
    while (length > 0) {
      const std::uint64_t within = at_ % kBlock;
      const std::uint64_t part = std::min(length, kBlock - within);
      if (bytes.empty() && within == 0 && part < length) {  // whole blocks of a hole
        const std::uint64_t blocks = sim::align_down(length, kBlock);
        at_ += blocks;
        length -= blocks;
        continue;
      }
      if (!bytes.empty()) {
        std::memcpy(partial_.data() + within, bytes.data(), part);
        bytes = bytes.subspan(part);
      }
      at_ += part;
      length -= part;
      if (at_ % kBlock == 0) finish_partial(at_ - kBlock);
    }
  }

  std::uint64_t end() {
    if (at_ % kBlock != 0) finish_partial(sim::align_down(at_, kBlock));
    return mix(sum_ + at_ * kPrime);
  }

 private:
  static constexpr std::uint64_t kBlock = 4096;
  static constexpr std::size_t kLanes = 8;
  static constexpr std::uint64_t kPrime = 0x9e3779b185ebca87;

  static std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 32)) * kPrime;
    return value ^ (value >> 29);
  }

  void finish_partial(std::uint64_t from) {
    for (const FileRange& range : hidden_) {
      const std::uint64_t first = std::max(range.offset, from);
      const std::uint64_t end = std::min(range.offset + range.length, from + kBlock);
      if (first < end)
        std::ranges::fill(sim::MutableBytes(partial_).subspan(first - from, end - first),
                          std::byte{0});
    }
    add_block(from / kBlock, partial_);
    partial_.fill(std::byte{0});
  }

  // Lanes of xor and multiply over 64 bit words, so that it runs at the speed of memory.
  void add_block(std::uint64_t index, sim::Bytes block) {
    if (sim::all_zero(block)) return;
    std::array<std::uint64_t, kLanes> lanes = {1, 2, 3, 4, 5, 6, 7, 8};
    for (std::size_t i = 0; i < kBlock; i += sizeof(lanes)) {
      std::array<std::uint64_t, kLanes> words;
      std::memcpy(words.data(), block.data() + i, sizeof(words));
      for (std::size_t k = 0; k < kLanes; ++k)
        lanes[k] = std::rotl((lanes[k] ^ words[k]) * kPrime, 29);
    }
    std::uint64_t sum = index;
    for (const std::uint64_t lane : lanes) sum = mix((std::rotl(sum, 23) ^ lane) * kPrime);
    sum_ += sum;
  }

  const std::vector<FileRange>& hidden_;
  std::uint64_t at_ = 0;
  std::uint64_t sum_ = 0;
  std::array<std::byte, kBlock> partial_{};  // what came of an unfinished block
};

}  // namespace

sim::Result<std::uint64_t> digest(const Files& files, const std::string& path,
                                  const std::vector<FileRange>& hidden) {
  const auto size = files.size(path);
  if (!size) return sim::os_error(ENOENT, path);
  Digest digest(hidden);
  TRY_OK(files.visit(path, 0, *size,
                     [&](std::uint64_t length, sim::Bytes bytes) { digest.add(length, bytes); }));
  return digest.end();
}

sim::Result<const Layer*> Inspector::layer(const std::string& path, std::string_view format) {
  std::string known(format);
  const auto size = files_.size(path);
  if (!size) return sim::os_error(ENOENT, path);
  if (known.empty()) {
    TRY(known, probe_format(files_, path));
  }
  const auto cached = layers_.find({path, known});
  if (cached != layers_.end()) return &cached->second;
  if (known != "raw" && known != "qcow2")
    return refuse(path, fmt::format("format '{}' is not supported here", known));
  TRY(Layer read, known == "raw" ? read_raw(files_, path, *size)
                                 : read_qcow2(files_, path, *size, passphrases_));
  return &layers_.emplace(std::pair{path, known}, std::move(read)).first->second;
}

// The absolute path of a backing file's name.
sim::Result<std::string> Inspector::resolve(const std::string& overlay,
                                            const std::string& name) const {
  const std::string joined =
      name.starts_with('/') ? name : overlay.substr(0, overlay.rfind('/') + 1) + name;
  std::string path;  // `joined` without ".", ".." and empty parts
  for (std::size_t at = 0; at < joined.size();) {
    const std::size_t end = std::min(joined.find('/', at), joined.size());
    const std::string part = joined.substr(at, end - at);
    at = end + 1;
    if (part == "..")
      path.resize(path.empty() ? 0 : path.rfind('/'));
    else if (!part.empty() && part != ".")
      path += "/" + part;
  }
  if (!path.starts_with(files_.directory() + "/"))
    return refuse(overlay, fmt::format("its backing file '{}' is outside the directory", name));
  return path;
}

sim::Result<std::vector<Inspector::Link>> Inspector::links(const std::string& path,
                                                           std::string_view format) {
  std::vector<Link> links;
  std::string next = path;
  std::string next_format(format);
  while (!next.empty()) {
    if (std::ranges::any_of(links, [&](const Link& link) { return link.path == next; }))
      return refuse(path, fmt::format("its backing chain is a loop at {}", next));
    if (links.size() == kMostLayers)
      return refuse(path, fmt::format("its backing chain has more than {} layers", kMostLayers));
    TRY(const Layer* read, layer(next, next_format));
    links.push_back({next, read});
    if (read->report.backing_file.empty()) break;
    TRY(next, resolve(next, read->report.backing_file));
    next_format = read->report.backing_format;
  }
  return links;
}

sim::Result<View> Inspector::view(const std::string& path, std::string_view format) {
  TRY(const std::vector<Link> chain, links(path, format));
  View view;
  std::vector<const Layer*> layers;
  for (const Link& link : chain) {
    view.layers.push_back(link.path);
    view.formats.push_back(link.layer->report.format);
    layers.push_back(link.layer);
  }
  append_view(view, layers, 0, 0, layers.front()->report.virtual_size);
  return view;
}

sim::Result<std::vector<std::string>> Inspector::chain(const std::string& path,
                                                       std::string_view format) {
  TRY(const std::vector<Link> chain, links(path, format));
  std::vector<std::string> paths;
  paths.reserve(chain.size());
  for (const Link& link : chain) paths.push_back(link.path);
  return paths;
}

}  // namespace conformance::inspect
