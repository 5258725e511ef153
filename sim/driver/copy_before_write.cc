#include "sim/driver/copy_before_write.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/chain.h"
#include "sim/driver/open.h"

namespace sim::driver {

using block::NodePtr;

CopyBeforeWrite::~CopyBeforeWrite() = default;

void CopyBeforeWrite::begin(const CbwOptions& options, const block::DirtyBitmap* bitmap) {
  options_ = options;
  block::Node& source = *filtered();
  block::Node& target = *child("target");
  const std::uint64_t cluster = BlockCopy::cluster_size_for(target, options.min_cluster_size);
  const Profile& profile = graph().profile();
  if (profile.has_copy_before_write) {
    for (auto* own : {&access_, &done_}) {
      *own = std::make_shared<block::DirtyBitmap>("", size(), cluster);
      (*own)->enabled = false;
    }
  }
  copy_ = std::make_shared<BlockCopy>(
      source, target, profile.cbw_shows_copy_bitmap ? static_cast<block::Node&>(*this) : source,
      CopyOptions{.cluster_size = cluster, .discard_source = options.discard_source});
  if (bitmap != nullptr) {
    copy_->bitmap().clear();
    copy_->bitmap().merge(*bitmap);
  }
  if (!access_) return;
  access_->merge(copy_->bitmap());
  bitmaps.push_back(done_);
  bitmaps.push_back(access_);
}

void CopyBeforeWrite::end() {
  copy_.reset();
  bitmaps.clear();
  graph().detach(*this, "target");
}

Task<Result<>> CopyBeforeWrite::close() {
  end();
  co_return ok();
}

block::Permission CopyBeforeWrite::child_permission(const block::Edge& child,
                                                    block::Permission above) const {
  // The target may have the source in its chain: the guest's writes must not conflict with it.
  if (child.name() == "target")
    return {block::kWrite, block::kAllPermissions &
                               ~(graph().profile().has_copy_before_write ? block::kResize : 0U)};
  block::Permission result = FilterNode::child_permission(child, above);
  if (parents().empty() && graph().profile().has_copy_before_write) return result;
  if ((above.needed & block::kWrite) != 0 || graph().profile().cbw_always_reads_source)
    result.needed |= block::kConsistentRead;
  if (options_.discard_source) result.needed |= block::kWrite;
  result.shared &= ~(block::kWrite | block::kResize);
  return result;
}

Task<Result<>> CopyBeforeWrite::copy_before(std::uint64_t offset, std::uint64_t length) {
  if (!copy_ || snapshot_error_) co_return ok();
  const std::shared_ptr<BlockCopy> copy = copy_;
  const std::uint64_t cluster = copy->cluster_size();
  const std::uint64_t from = align_down(offset, cluster);
  const std::uint64_t bytes = align_up(offset + length, cluster) - from;
  Result<> done = co_await copy->copy(from, bytes);
  if (!done && options_.fails_snapshot) {
    snapshot_error_ = std::move(done).error();
    co_return ok();
  }
  if (done && done_) done_->set(from, bytes);
  co_return done;
}

Task<Result<>> CopyBeforeWrite::do_write(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(co_await copy_before(offset, from.size()));
  co_return co_await FilterNode::do_write(offset, from);
}

Task<Result<>> CopyBeforeWrite::do_write_compressed(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(co_await copy_before(offset, from.size()));
  co_return co_await FilterNode::do_write_compressed(offset, from);
}

Task<Result<>> CopyBeforeWrite::do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                                block::ZeroFlags flags) {
  CO_TRY_OK(co_await copy_before(offset, length));
  co_return co_await FilterNode::do_write_zeroes(offset, length, flags);
}

Task<Result<>> CopyBeforeWrite::do_discard(std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(co_await copy_before(offset, length));
  co_return co_await FilterNode::do_discard(offset, length);
}

// --- the snapshot --------------------------------------------------------------------------------

// Where the first bytes of a range are to be read; `length` becomes how many of them are there.
Result<block::Node*> CopyBeforeWrite::place_of(std::uint64_t offset, std::uint64_t& length) {
  const auto forbidden = access_->next_clean(offset);
  if (snapshot_error_ || (forbidden && *forbidden < offset + length)) return os_error(EACCES);
  const bool copied = done_->is_dirty(offset);
  const auto change = copied ? done_->next_clean(offset) : done_->next_dirty(offset);
  if (change) length = std::min(length, *change - offset);
  return copied ? child("target") : filtered();
}

Task<Result<>> CopyBeforeWrite::read_snapshot(std::uint64_t offset, MutableBytes into) {
  while (!into.empty()) {
    std::uint64_t length = into.size();
    CO_TRY(block::Node* const place, place_of(offset, length));
    CO_TRY_OK(co_await place->read(offset, into.first(length)));
    offset += length;
    into = into.subspan(length);
  }
  co_return ok();
}

Task<Result<block::Status>> CopyBeforeWrite::snapshot_status(std::uint64_t offset,
                                                             std::uint64_t length) {
  CO_TRY(block::Node* const place, place_of(offset, length));
  co_return co_await block::status_of_chain(*place, offset, length);
}

Task<Result<>> CopyBeforeWrite::discard_snapshot(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t cluster = copy_->cluster_size();
  const std::uint64_t from = align_up(offset, cluster);
  const std::uint64_t to =
      offset + length == size() ? align_up(size(), cluster) : align_down(offset + length, cluster);
  if (from >= to) co_return ok();
  access_->reset(from, to - from);
  copy_->bitmap().reset(from, to - from);
  co_return co_await child("target")->discard(from, std::min(to, size()) - from);
}

// --- putting it there ----------------------------------------------------------------------------

Result<std::shared_ptr<CopyBeforeWrite>> append_cbw(block::Graph& graph, const NodePtr& source,
                                                    const NodePtr& target, const std::string& name,
                                                    const CbwOptions& options) {
  const Profile& profile = graph.profile();
  const auto because = [&](const char* what, Error error) {
    if (profile.has_copy_before_write) error.desc = what + error.desc;
    return error;
  };
  auto chosen = graph.choose_name(name);
  if (!chosen) return because("Could not create node: ", std::move(chosen).error());
  auto filter = std::make_shared<CopyBeforeWrite>(
      graph, *std::move(chosen),
      profile.has_copy_before_write ? "copy-before-write" : "backup-top");
  filter->implicit = name.empty() && !profile.has_copy_before_write;
  Result<> done = ok();
  if (profile.has_copy_before_write) {
    done = graph.attach(*filter, source, "file", block::kFiltered | block::kPrimary);
    if (done) done = graph.attach(*filter, target, "target", block::kData);
    if (!done) return because("Could not create node: ", std::move(done).error());
    filter->begin(options, nullptr);
    done = graph.replace(source, filter);
    if (!done) return because("Could not replace node: ", std::move(done).error());
  } else {
    TRY_OK(graph.attach(*filter, target, "target", block::kData));
    TRY_OK(graph.insert_above(filter, source, "backing", block::kFiltered | block::kPrimary));
    filter->begin(options, nullptr);
  }
  graph.add(filter);
  return filter;
}

// --- blockdev-add --------------------------------------------------------------------------------

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

static Result<std::shared_ptr<block::DirtyBitmap>> find_bitmap(block::Graph& graph,
                                                               const Json& options) {
  if (!options.contains("bitmap")) return std::shared_ptr<block::DirtyBitmap>();
  const std::string node = options["bitmap"]["node"].get<std::string>();
  const std::string name = options["bitmap"]["name"].get<std::string>();
  const NodePtr found = graph.find(node);
  if (!found) return generic(fmt::format("Node '{}' not found", node));
  auto bitmap = found->find_bitmap(name);
  if (!bitmap) return generic(fmt::format("Dirty bitmap '{}' not found", name));
  return bitmap;
}

Task<Result<NodePtr>> open_copy_before_write(block::Graph& graph, Common common, Json options) {
  CO_TRY(const NodePtr source, co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<CopyBeforeWrite>(graph, std::move(common.name), "copy-before-write");
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, source, "file", block::kFiltered | block::kPrimary));
  auto target = co_await open_child(graph, options["target"], common.for_children);
  Result<> done = ok();
  if (target)
    done = graph.attach(*node, *target, "target", block::kData);
  else
    done = std::move(target).error();
  std::shared_ptr<block::DirtyBitmap> bitmap;
  if (done) {
    auto found = find_bitmap(graph, options);
    if (found)
      bitmap = *std::move(found);
    else
      done = std::move(found).error();
  }
  if (!done) {
    while (!node->children().empty()) graph.detach(*node, node->children().front()->name());
    co_return std::move(done).error();
  }
  CbwOptions settings;
  settings.fails_snapshot = options.value("on-cbw-error", "") == "break-snapshot";
  settings.min_cluster_size = options.value("min-cluster-size", std::uint64_t{0});
  node->begin(settings, bitmap.get());
  co_return node;
}

namespace {

class SnapshotAccess final : public block::Node {
 public:
  SnapshotAccess(block::Graph& graph, std::string name)
      : Node(graph, std::move(name), "snapshot-access") {}
  std::uint64_t size() const override { return file()->size(); }
  std::string exact_filename() const override { return file()->filename(); }
  bool has_image_info() const override { return false; }
  block::Permission child_permission(const block::Edge&, block::Permission) const override {
    return {};
  }
  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    CopyBeforeWrite* source = source_of();
    if (source == nullptr) co_return os_error(ENOTSUP);
    co_return co_await source->snapshot_status(offset, length);
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    CopyBeforeWrite* source = source_of();
    if (source == nullptr) co_return os_error(ENOTSUP);
    co_return co_await source->read_snapshot(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t, Bytes) override { co_return os_error(ENOTSUP); }
  Task<Result<>> do_write_zeroes(std::uint64_t, std::uint64_t, block::ZeroFlags) override {
    co_return os_error(ENOTSUP);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    CopyBeforeWrite* source = source_of();
    if (source == nullptr) co_return os_error(ENOTSUP);
    co_return co_await source->discard_snapshot(offset, length);
  }

 private:
  CopyBeforeWrite* source_of() const { return dynamic_cast<CopyBeforeWrite*>(file()); }
};

}  // namespace

Task<Result<NodePtr>> open_snapshot_access(block::Graph& graph, Common common, Json options) {
  CO_TRY(const NodePtr source, co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<SnapshotAccess>(graph, std::move(common.name));
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, source, "file", block::kData | block::kPrimary));
  co_return node;
}

}  // namespace sim::driver
