// Driver `qcow2`: an image in its file child, with an optional backing child.

#include "sim/qcow2/image.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/permissions.h"
#include "sim/driver/open.h"

namespace sim::driver {

namespace {

// What an image sees of the node below it.
class NodeBacking final : public qcow2::Backing {
 public:
  explicit NodeBacking(block::Node& node) : node_(node) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return read_padded(node_, offset, into);
  }
  std::uint64_t size() const override { return node_.size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) override {
    while (length > 0 && offset < node_.size()) {
      CO_TRY(const block::Status status,
             co_await status_of_chain(node_, offset, std::min(length, node_.size() - offset)));
      if (!status.zero) co_return false;
      offset += status.length;
      length -= std::min(length, status.length);
    }
    co_return true;
  }

 private:
  block::Node& node_;
};

class Qcow2Node final : public block::Node {
 public:
  Qcow2Node(World& world, std::string name, block::NodePtr file,
            std::unique_ptr<qcow2::Image> image)
      : Node(world, std::move(name), "qcow2"), image_(std::move(image)) {
    attach("file", std::move(file));
  }

  Task<Result<>> flush() override { return image_->flush(); }
  Task<Result<>> close() override { return image_->close(); }
  std::uint64_t size() const override { return image_->size(); }
  std::uint64_t cluster_size() const override { return image_->cluster_size(); }
  std::string header_backing_file() const override { return image_->header().backing_file; }

  void set_backing(block::NodePtr backing) override {
    Node::set_backing(backing);
    backing_adapter_ = backing ? std::make_unique<NodeBacking>(*backing) : nullptr;
    image_->set_backing(backing_adapter_.get());
  }

  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    using Kind = qcow2::Extent::Kind;
    CO_TRY(const qcow2::Extent extent, co_await image_->status(qcow2::GuestOffset{offset}, length));
    const bool without_backing = backing() == nullptr;
    co_return block::Status{
        std::min(length, extent.length), extent.kind != Kind::absent,
        extent.kind == Kind::zero || (extent.kind == Kind::absent && without_backing)};
  }

  void describe_image(Json& image) const override {
    const qcow2::Header& header = image_->header();
    image["cluster-size"] = image_->cluster_size();
    image["format-specific"] = {{"type", "qcow2"},
                                {"data",
                                 {{"compat", "1.1"},
                                  {"compression-type", "zlib"},
                                  {"lazy-refcounts", false},
                                  {"refcount-bits", 16},
                                  {"corrupt", false},
                                  {"extended-l2", false}}}};
    if (header.backing_file.empty()) return;
    image["backing-filename"] = header.backing_file;
    image["full-backing-filename"] = header.backing_file;
    if (!header.backing_format.empty()) image["backing-filename-format"] = header.backing_format;
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return image_->read(qcow2::GuestOffset{offset}, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return image_->write(qcow2::GuestOffset{offset}, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return image_->write_zeroes(qcow2::GuestOffset{offset}, length, unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return image_->discard(qcow2::GuestOffset{offset}, length);
  }

 private:
  std::unique_ptr<NodeBacking> backing_adapter_;
  std::unique_ptr<qcow2::Image> image_;
};

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

// Without the option `backing`, the header says what is below: relative names start at the
// image's own directory, and the format must be recorded (it is not probed here).
Task<Result<block::NodePtr>> open_backing_of_header(block::Graph& graph, qcow2::Header header,
                                                    std::string path) {
  if (header.backing_file.empty()) co_return block::NodePtr();
  if (header.backing_format.empty())
    co_return Error{ErrorClass::generic,
                    fmt::format("Image '{}' names a backing file without its format; give the "
                                "option 'backing'",
                                path)};
  const std::string name = header.backing_file.front() == '/'
                               ? header.backing_file
                               : directory_of(path) + header.backing_file;
  auto opened = co_await open_node(
      graph,
      Json{{"driver", header.backing_format},
           {"read-only", true},
           {"file", {{"driver", "file"}, {"filename", name}, {"read-only", true}}}},
      false);
  if (!opened) {
    Error error = std::move(opened).error();
    error.desc = fmt::format("Could not open backing file: {}", error.desc);
    co_return error;
  }
  co_return *std::move(opened);
}

}  // namespace

Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, std::string name, Json options) {
  const bool writable = !options.value("read-only", false);
  block::NodePtr backing;
  const auto backing_option = options.find("backing");
  CO_TRY(block::NodePtr file, co_await open_child(graph, options["file"]));
  CO_TRY_OK(check_new_user(*file, block::format_user(name, writable)));
  CO_TRY_OK(check_lock(graph, *file, writable));
  if (file->storage() == nullptr)
    co_return Error{
        ErrorClass::generic,
        fmt::format("Driver '{}' cannot carry a qcow2 image in this version", file->driver())};
  CO_TRY(std::unique_ptr<qcow2::Image> image,
         co_await qcow2::Image::open(graph.world(), file->storage(), writable));
  if (backing_option == options.end()) {
    CO_TRY(backing, co_await open_backing_of_header(graph, image->header(), file->filename()));
  } else if (!backing_option->is_null()) {
    auto opened = co_await open_child(graph, *backing_option);
    if (!opened) {
      Error error = std::move(opened).error();
      error.desc = fmt::format("Could not open backing file: {}", error.desc);
      co_return error;
    }
    backing = *std::move(opened);
  }
  auto node = std::make_shared<Qcow2Node>(graph.world(), std::move(name), std::move(file),
                                          std::move(image));
  node->set_backing(std::move(backing));
  co_return node;
}

}  // namespace sim::driver
