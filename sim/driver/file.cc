// Driver `file`: a host file.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/block/backend.h"
#include "sim/driver/node_storage.h"
#include "sim/driver/open.h"
#include "sim/storage/file.h"
#include "sim/storage/storage.h"

namespace sim::driver {

namespace {

class FileNode;

// What is written is told to the node, which keeps the length and counts discards.
class Watched final : public PastNode {
 public:
  Watched(std::shared_ptr<storage::Storage> next, FileNode& node)
      : PastNode(std::move(next)), node_(node) {}
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> truncate(std::uint64_t size) override;

 private:
  FileNode& node_;
};

class FileNode final : public block::Node {
 public:
  FileNode(block::Graph& graph, std::string name, std::string path,
           std::shared_ptr<storage::Storage> storage, bool locks)
      : Node(graph, std::move(name), "file"),
        path_(std::move(path)),
        storage_(std::move(storage)),
        watched_(std::make_shared<Watched>(storage_, *this)),
        length_(storage_->size()),
        locks_(locks) {}

  // As it was opened, or as this node has changed it: what others do to the file does not show
  // (measured, 7.2 to 11.1).
  std::uint64_t size() const override { return align_up(length_, 512); }
  void grow(std::uint64_t length) { length_ = std::max(length_, length); }
  void set_length(std::uint64_t length) { length_ = length; }
  std::uint64_t request_alignment() const override { return cache_direct ? 4096 : 1; }
  std::string exact_filename() const override { return path_; }
  Json open_options() const override { return {{"driver", "file"}, {"filename", path_}}; }
  std::shared_ptr<storage::Storage> storage() override {
    return detect_zeroes == block::DetectZeroes::off ? watched_ : nullptr;
  }
  using Node::note_write;
  Task<Result<>> discard_bytes(storage::Storage& in, std::uint64_t offset, std::uint64_t length) {
    Result<> done = co_await in.discard(offset, length);
    ++(done ? discards_ : failed_discards_);
    if (done) discarded_ += length;
    co_return done;
  }
  Json describe_statistics() const override {
    return {{"driver", "file"},
            {"discard-nb-ok", discards_},
            {"discard-nb-failed", failed_discards_},
            {"discard-bytes-ok", discarded_}};
  }

  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    if (offset >= storage_->size()) co_return block::Status{length, true, true};
    const storage::Extent extent = storage_->extent_at(offset);
    co_return block::Status{std::min(length, extent.length), true, !extent.data};
  }
  void describe_image(Json& image) const override { image["actual-size"] = storage_->allocated(); }

  std::optional<std::string_view> reopen_options() const override {
    return "x-check-cache-dropped";
  }
  Task<Result<>> prepare_reopen(Json /*options*/, bool writable) override {
    auto opened = graph().files().open(
        path_, writable ? storage::Access::read_write : storage::Access::read_only);
    if (!opened) {
      Error error = std::move(opened).error();
      error.desc = fmt::format("Could not open '{}': {}", path_, error.desc);
      co_return error;
    }
    before_ = std::exchange(storage_, *std::move(opened));
    watched_ = std::make_shared<Watched>(storage_, *this);
    co_return ok();
  }
  void commit_reopen() override {
    apply_permission(held_);  // locks belong to the opened file
    before_.reset();
  }
  void abort_reopen() override {
    if (!before_) return;
    storage_ = std::move(before_);
    watched_ = std::make_shared<Watched>(storage_, *this);
  }

  // Other nodes of the same file are other openers: QEMU keeps them apart by locks on it.
  Result<> check_permission(block::Permission above) override;
  void apply_permission(block::Permission above) override {
    held_ = above;
    if (storage::RealFile* real = locked_file())
      real->hold(above.needed, block::kAllPermissions & ~above.shared);
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return storage_->read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    grow(offset + from.size());
    return storage_->write(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    grow(offset + length);
    return storage_->write_zeroes(offset, length, flags.unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return discard_bytes(*storage_, offset, length);
  }
  Task<Result<>> do_flush() override { return storage_->flush(); }
  Task<Result<>> do_truncate(block::Truncate wanted) override {
    Result<> done = co_await storage_->truncate(wanted.size);
    if (done) length_ = wanted.size;
    if (done) co_return ok();
    Error error = std::move(done).error();
    error.desc = "Could not resize file: " + error.desc;
    co_return error;
  }

 private:
  // Other programs see what is locked here, if it is a real file; else null.
  storage::RealFile* locked_file() const {
    return locks_ && !force_share ? dynamic_cast<storage::RealFile*>(storage_.get()) : nullptr;
  }

  std::string path_;
  std::shared_ptr<storage::Storage> storage_, before_;
  std::shared_ptr<storage::Storage> watched_;  // storage_, as formats see it
  std::uint64_t length_;                       // bytes
  std::uint64_t discards_ = 0, failed_discards_ = 0, discarded_ = 0;
  bool locks_;
  block::Permission held_;
};

Task<Result<>> Watched::write(std::uint64_t offset, Bytes from) {
  Result<> done = co_await next().write(offset, from);
  node_.grow(offset + from.size());
  node_.note_write(offset, from.size());
  co_return done;
}

Task<Result<>> Watched::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  Result<> done = co_await next().write_zeroes(offset, length, unmap);
  node_.grow(offset + length);
  node_.note_write(offset, length);
  co_return done;
}

Task<Result<>> Watched::truncate(std::uint64_t size) {
  Result<> done = co_await next().truncate(size);
  if (done) node_.set_length(size);
  co_return done;
}

Task<Result<>> Watched::discard(std::uint64_t offset, std::uint64_t length) {
  return node_.discard_bytes(next(), offset, length);
}

Error no_lock(std::string_view shared, std::string_view what) {
  return {ErrorClass::generic, fmt::format("Failed to get {}\"{}\" lock", shared, what), EAGAIN};
}

Result<> FileNode::check_permission(block::Permission above) {
  if (!locks_ || force_share) return ok();
  constexpr std::array kBits = {block::kConsistentRead, block::kWrite, block::kWriteUnchanged,
                                block::kResize};
  std::vector<const FileNode*> others;
  for (const block::NodePtr& node : graph().all())
    if (const auto* file = dynamic_cast<const FileNode*>(node.get());
        file != nullptr && file != this && file->path_ == path_ && file->locks_)
      others.push_back(file);
  for (const block::Permissions bit : kBits)
    for (const FileNode* other : others)
      if ((above.needed & bit) != 0 && (other->held_.shared & bit) == 0)
        return no_lock("", block::words(bit));
  for (const block::Permissions bit : kBits)
    for (const FileNode* other : others)
      if ((above.shared & bit) == 0 && (other->held_.needed & bit) != 0)
        return no_lock("shared ", block::words(bit));
  if (storage::RealFile* real = locked_file())
    return real->try_hold(above.needed, block::kAllPermissions & ~above.shared);
  return ok();
}

// QEMU has no more descriptors by default: where a chain of backing files that is a circle ends.
bool has_room_for_a_file(const block::Graph& graph) {
  constexpr std::ptrdiff_t kMostFiles = 1000;
  return std::ranges::count_if(graph.all(), [](const block::NodePtr& node) {
           return dynamic_cast<const FileNode*>(node.get()) != nullptr;
         }) < kMostFiles;
}

}  // namespace

Task<Result<block::NodePtr>> open_file(block::Graph& graph, Common common, Json options) {
  CO_TRY_OK(settle(graph, common));
  const std::string path = options["filename"].get<std::string>();
  // auto-read-only opens for writing only when a parent writes; a Storage is opened for it at once.
  if (!has_room_for_a_file(graph))
    co_return os_error(EMFILE, fmt::format("Could not open '{}'", path));
  auto opened = graph.files().open(path, common.read_only && !common.auto_read_only
                                             ? storage::Access::read_only
                                             : storage::Access::read_write);
  if (!opened && common.auto_read_only)
    opened = graph.files().open(path, storage::Access::read_only);
  if (!opened) {
    Error error = std::move(opened).error();
    error.desc = fmt::format("Could not open '{}': {}", path, error.desc);
    co_return error;
  }
  co_return std::make_shared<FileNode>(graph, std::move(common.name), path, *std::move(opened),
                                       options.value("locking", "auto") != "off");
}

}  // namespace sim::driver
