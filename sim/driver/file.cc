// Driver `file`: a host file.

#include <fmt/format.h>

#include <algorithm>

#include "sim/driver/open.h"
#include "sim/storage/storage.h"

namespace sim::driver {

namespace {

class FileNode final : public block::Node {
 public:
  FileNode(World& world, std::string name, std::string path,
           std::shared_ptr<storage::Storage> storage)
      : Node(world, std::move(name), "file"),
        path_(std::move(path)),
        storage_(std::move(storage)) {}

  Task<Result<>> flush() override { return storage_->flush(); }
  std::uint64_t size() const override { return align_up(storage_->size(), 512); }
  std::string filename() const override { return path_; }
  std::shared_ptr<storage::Storage> storage() const override { return storage_; }

  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    if (offset >= storage_->size()) co_return block::Status{length, true, true};
    const storage::Extent extent = storage_->extent_at(offset);
    co_return block::Status{std::min(length, extent.length), true, !extent.data};
  }
  void describe_image(Json& image) const override { image["actual-size"] = storage_->allocated(); }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return storage_->read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return storage_->write(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return storage_->write_zeroes(offset, length, unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return storage_->discard(offset, length);
  }

 private:
  std::string path_;
  std::shared_ptr<storage::Storage> storage_;
};

}  // namespace

Task<Result<block::NodePtr>> open_file(block::Graph& graph, std::string name, Json options) {
  const std::string path = options["filename"].get<std::string>();
  const bool read_only =
      options.value("read-only", false) || options.value("auto-read-only", false);
  // auto-read-only opens for writing only when a parent writes; a Storage is opened for it at once.
  auto opened = graph.files().open(path, read_only && !options.value("auto-read-only", false)
                                             ? storage::Access::read_only
                                             : storage::Access::read_write);
  if (!opened) {
    Error error = std::move(opened).error();
    error.desc = fmt::format("Could not open '{}': {}", path, error.desc);
    co_return error;
  }
  co_return std::make_shared<FileNode>(graph.world(), std::move(name), path, *std::move(opened));
}

}  // namespace sim::driver
