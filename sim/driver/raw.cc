// Driver `raw`: a stretch of its file child, by default all of it.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "sim/block/chain.h"
#include "sim/block/debugger.h"
#include "sim/driver/node_storage.h"
#include "sim/driver/open.h"

namespace sim::driver {

namespace {

class RawNode;

// The bytes beneath: what is written there is written to this node as well.
class Passing final : public PastNode {
 public:
  Passing(std::shared_ptr<storage::Storage> next, RawNode& node)
      : PastNode(std::move(next)), node_(node) {}
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;

 private:
  RawNode& node_;
};

class RawNode final : public block::Node {
 public:
  RawNode(block::Graph& graph, std::string name, std::uint64_t offset,
          std::optional<std::uint64_t> size)
      : Node(graph, std::move(name), "raw"), offset_(offset), size_(size) {}

  bool is_format() const override { return true; }
  std::uint64_t size() const override {
    if (size_) return *size_;
    const bool follows = passes_on_ || graph().profile().sizes_follow_children;
    return align_up(follows ? std::max(file()->size(), offset_) - offset_ : kept_size_, 512);
  }
  // It has the size that it has now, whatever becomes of its file.
  void keep_size() { kept_size_ = file()->size() - offset_; }
  bool is_whole() const { return offset_ == 0 && !size_; }
  std::shared_ptr<storage::Storage> storage() override;
  using Node::note_write;
  std::string exact_filename() const override {
    return is_whole() && is_protocol(*file()) ? file()->exact_filename() : std::string();
  }
  Json open_options() const override {
    Json result = Node::open_options();
    if (offset_ != 0) result["offset"] = offset_;
    if (size_) result["size"] = *size_;
    return result;
  }
  bool has_image_info() const override { return file()->has_image_info(); }
  std::uint64_t cluster_size() const override { return file()->cluster_size(); }
  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    return file()->status(offset_ + offset, length);
  }
  std::optional<std::string_view> reopen_options() const override { return "offset|size"; }
  Result<> check_reopen(const Json& wanted, bool writable) const override;
  Task<Result<>> prepare_reopen(Json options, bool /*writable*/) override {
    before_ = {offset_, size_};
    read_stretch(options);
    co_return ok();
  }
  void commit_reopen() override { keep_size(); }
  void abort_reopen() override { std::tie(offset_, size_) = before_; }
  void read_stretch(const Json& options) {
    offset_ = options.value("offset", std::uint64_t{0});
    size_.reset();
    if (options.contains("size")) size_ = options["size"].get<std::uint64_t>();
  }
  // It has no structures of its own: needs of its file just what its users need.
  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override {
    block::Permission result = Node::child_permission(child, above);
    constexpr block::Permissions kChanging = block::kWrite | block::kResize;
    result.needed = (result.needed & ~kChanging) | (above.needed & kChanging);
    return result;
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    if (file()->debugger() != nullptr) return read_observed(offset, into);
    return block::read_padded(*file(), offset_ + offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    kept_size_ = std::max(kept_size_, offset + from.size());
    if (file()->debugger() != nullptr) return write_observed(offset, from);
    return file()->write(offset_ + offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    kept_size_ = std::max(kept_size_, offset + length);
    return file()->write_zeroes(offset_ + offset, length, flags);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return file()->discard(offset_ + offset, length);
  }
  Task<Result<>> do_flush() override { return file()->flush(); }
  Task<Result<>> do_truncate(block::Truncate wanted) override {
    if (size_)
      return [](std::string text) -> Task<Result<>> {
        co_return Error{ErrorClass::generic, std::move(text), ENOTSUP};
      }("Cannot resize fixed-size raw disks");
    wanted.size += offset_;
    return truncate_file(wanted);
  }

 private:
  Task<Result<>> read_observed(std::uint64_t offset, MutableBytes into) {
    co_await file()->debugger()->raise("read_aio");
    co_return co_await block::read_padded(*file(), offset_ + offset, into);
  }
  Task<Result<>> write_observed(std::uint64_t offset, Bytes from) {
    co_await file()->debugger()->raise("write_aio");
    co_return co_await file()->write(offset_ + offset, from);
  }
  Task<Result<>> truncate_file(block::Truncate wanted) {
    Result<> done = co_await file()->truncate(wanted);
    if (done) keep_size();
    co_return done;
  }

  std::uint64_t offset_;
  std::optional<std::uint64_t> size_;
  std::pair<std::uint64_t, std::optional<std::uint64_t>> before_;
  std::uint64_t kept_size_ = 0;  // bytes
  bool passes_on_ = false;       // a format writes to the file past this node
};

std::shared_ptr<storage::Storage> RawNode::storage() {
  const bool passes_all = is_whole() && detect_zeroes == block::DetectZeroes::off;
  std::shared_ptr<storage::Storage> beneath = passes_all ? file()->storage() : nullptr;
  if (!beneath) return nullptr;
  passes_on_ = true;
  return std::make_shared<Passing>(std::move(beneath), *this);
}

Task<Result<>> Passing::write(std::uint64_t offset, Bytes from) {
  node_.note_write(offset, from.size());
  return next().write(offset, from);
}

Task<Result<>> Passing::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  node_.note_write(offset, length);
  return next().write_zeroes(offset, length, unmap);
}

Result<> check_stretch(const block::Node& file, std::uint64_t offset,
                       std::optional<std::uint64_t> size) {
  const bool tells = file.graph().profile().raw_tells_offset;
  if (offset > file.size())
    return Error{ErrorClass::generic,
                 fmt::format("Offset ({}) cannot be greater than size of the containing file ({})",
                             tells ? offset : 0, file.size())};
  if (!size) return ok();
  if (*size % 512 != 0) return Error{ErrorClass::generic, "Specified size is not multiple of 512"};
  if (*size > file.size() - offset)
    return Error{ErrorClass::generic,
                 fmt::format("The sum of offset ({}) and size ({}) has to be smaller or equal to "
                             "the  actual size of the containing file ({})",
                             tells ? offset : 0, tells ? *size : 0, file.size())};
  return ok();
}

Result<> RawNode::check_reopen(const Json& wanted, bool /*writable*/) const {
  TRY_OK(check_sizes(wanted, {"offset", "size"}, graph().profile()));
  std::optional<std::uint64_t> size;
  if (wanted.contains("size")) size = wanted["size"].get<std::uint64_t>();
  return check_stretch(*file(), wanted.value("offset", std::uint64_t{0}), size);
}

}  // namespace

Task<Result<block::NodePtr>> open_raw(block::Graph& graph, Common common, Json options) {
  CO_TRY_OK(check_sizes(options, {"offset", "size"}, graph.profile()));
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  for (unsigned i = 0; options["file"].is_string() && i < graph.profile().raw_drains_its_file;
       ++i) {
    co_await graph.drain_begin(file);
    graph.drain_end(*file);
  }
  CO_TRY_OK(settle(graph, common));
  const std::uint64_t offset = options.value("offset", std::uint64_t{0});
  std::optional<std::uint64_t> size;
  if (options.contains("size")) size = options["size"].get<std::uint64_t>();
  auto node = std::make_shared<RawNode>(graph, std::move(common.name), offset, size);
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  const block::Roles roles =
      offset == 0 && !size ? block::kFiltered | block::kPrimary : block::kData | block::kPrimary;
  CO_TRY_OK(graph.attach(*node, file, "file", roles));
  if (Result<> fits = check_stretch(*file, offset, size); !fits) {
    graph.detach(*node, "file");
    co_return std::move(fits).error();
  }
  node->keep_size();
  co_return node;
}

}  // namespace sim::driver
