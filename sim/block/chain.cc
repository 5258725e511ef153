#include "sim/block/chain.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "sim/base/text.h"
#include "sim/block/graph.h"

namespace sim::block {

Node& skip_filters(Node& node) {
  Node* found = &node;
  while (Node* next = found->filtered()) found = next;
  return *found;
}

Node* next_layer(const Node& node) {
  Node* next = below(node);
  return next == nullptr ? nullptr : &skip_filters(*next);
}

Node* below(const Node& node) { return node.is_filter() ? node.filtered() : node.backing(); }

const Node* snapshot_node(const Node& node) {
  if (node.supports_snapshots()) return &node;
  if (node.children().size() != 1) return nullptr;
  return snapshot_node(*node.children().front()->node());
}

Node* snapshot_node(Node& node) { return const_cast<Node*>(snapshot_node(std::as_const(node))); }

bool chain_contains(const Node& top, const Node& base) {
  for (const Node* at = &top; at != nullptr; at = below(*at))
    if (at == &base) return true;
  return false;
}

Node* overlay_of(Node& top, const Node& base) {
  for (Node* at = &top; at != nullptr; at = below(*at))
    if (below(*at) == &base) return at;
  return nullptr;
}

// The file that a name in an image at `layer` leads to; empty if there is none.
static std::string file_of(const Node& layer, const std::string& name) {
  std::string path = name;
  if (!path.starts_with('/')) {
    const std::string beside = layer.filename();
    path.insert(0, beside, 0, beside.rfind('/') + 1);
  }
  path = std::filesystem::path(path).lexically_normal();
  const auto& files = layer.graph().files();
  auto found = files.exists(path) ? files.canonical(path) : std::string();
  return found ? *std::move(found) : std::string();
}

static bool is_meant(const Node& layer, const Node& next, const std::string& name) {
  if (layer.is_backing_overridden()) return name == next.filename();
  const std::string recorded = layer.header_backing_file();
  if (has_protocol(name) || has_protocol(recorded)) return name == recorded;
  const std::string file = file_of(layer, name);
  return !file.empty() && file == file_of(layer, recorded);
}

NodePtr find_backing_image(Node& top, const std::string& name) {
  Node* layer = &skip_filters(top);
  while (Node* next = next_layer(*layer)) {
    if (is_meant(*layer, *next, name)) return next->shared_from_this();
    layer = next;
  }
  return nullptr;
}

// Walks down from `top` until a layer has the stretch, or `base` or the end is reached.
static Task<Result<Status>> walk(Node& top, const Node* base, std::uint64_t offset,
                                 std::uint64_t length, bool end_is_zero) {
  Node* layer = &skip_filters(top);
  bool has_backing = true;  // the last layer could have had one
  while (layer != nullptr && layer != base) {
    if (offset >= layer->size()) {  // a short layer ends the search: it reads as zeroes from above
      co_return Status{length, true, true};
    }
    const std::uint64_t inside = std::min(length, layer->size() - offset);
    CO_TRY(const Status own, co_await layer->status(offset, inside));
    if (own.allocated) co_return own;
    length = own.length;
    has_backing = layer->supports_backing();
    layer = next_layer(*layer);
  }
  // What a raw node passes on of an overlay that has not got it is not told to be zero: QEMU then
  // thinks that nobody needs it (measured, 5.2 to 11.1).
  co_return Status{length, false, end_is_zero && has_backing};
}

Task<Result<Status>> status_of_chain(Node& top, std::uint64_t offset, std::uint64_t length) {
  return walk(top, nullptr, offset, length, true);
}

Task<Result<Status>> status_above(Node& top, const Node* base, std::uint64_t offset,
                                  std::uint64_t length) {
  return walk(top, base, offset, length, false);
}

Task<Result<>> read_padded(Node& node, std::uint64_t offset, MutableBytes into) {
  const std::uint64_t end = node.size();
  const std::uint64_t inside =
      offset >= end ? 0 : std::min<std::uint64_t>(into.size(), end - offset);
  if (inside > 0) CO_TRY_OK(co_await node.read(offset, into.first(inside)));
  std::ranges::fill(into.subspan(inside), std::byte{0});
  co_return ok();
}

}  // namespace sim::block
