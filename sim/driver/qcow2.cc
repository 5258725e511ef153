// Driver `qcow2`: an image in its file child, with an optional backing child.

#include "sim/qcow2/image.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/chain.h"
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

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

class Qcow2Node final : public block::Node {
 public:
  Qcow2Node(block::Graph& graph, std::string name) : Node(graph, std::move(name), "qcow2") {}
  void set_image(std::unique_ptr<qcow2::Image> image) { image_ = std::move(image); }

  bool is_format() const override { return true; }
  bool supports_backing() const override { return true; }
  Task<Result<>> close() override { return image_->close(); }
  std::uint64_t size() const override { return image_->size(); }
  std::uint64_t cluster_size() const override { return image_->cluster_size(); }
  std::string header_backing_file() const override { return image_->header().backing_file; }
  std::string header_backing_format() const override { return image_->header().backing_format; }
  Task<Result<>> change_backing_name(std::string file, std::string format) override {
    auto_backing_ = file;
    return image_->change_backing_name(std::move(file), std::move(format));
  }
  // The backing file is the one that the header leads to by itself: QEMU compares names.
  void set_auto_backing(std::string name) { auto_backing_ = std::move(name); }
  bool has_auto_backing() const {
    return auto_backing_ == (backing() == nullptr ? std::string() : backing()->filename());
  }
  Task<Result<>> make_empty() override { return image_->make_empty(); }
  std::string exact_filename() const override {
    return has_auto_backing() ? file()->exact_filename() : std::string();
  }
  Json open_options() const override {
    Json result = Node::open_options();
    if (has_auto_backing())
      result.erase("backing");
    else if (backing() == nullptr)
      result["backing"] = nullptr;
    return result;
  }

  // The same image, opened anew.  Nothing else uses it meanwhile: the node is drained.
  Task<Result<>> prepare_reopen(Json /*options*/, bool writable) override {
    CO_TRY_OK(co_await image_->close());
    auto opened = co_await qcow2::Image::open(world(), file()->storage(), writable);
    if (!opened) {
      auto back = co_await qcow2::Image::open(world(), file()->storage(), !writable);
      if (back) image_ = *std::move(back);
      backing_changed();
      co_return std::move(opened).error();
    }
    image_ = *std::move(opened);
    backing_changed();
    co_return ok();
  }

  void backing_changed() override {
    backing_adapter_ = backing() != nullptr ? std::make_unique<NodeBacking>(*backing()) : nullptr;
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
    image["full-backing-filename"] =
        header.backing_file.front() == '/' || header.backing_file.contains(':')
            ? header.backing_file
            : directory_of(file()->filename()) + header.backing_file;
    if (!header.backing_format.empty()) image["backing-filename-format"] = header.backing_format;
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return image_->read(qcow2::GuestOffset{offset}, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return image_->write(qcow2::GuestOffset{offset}, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    return image_->write_zeroes(qcow2::GuestOffset{offset}, length, flags.unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return image_->discard(qcow2::GuestOffset{offset}, length);
  }
  Task<Result<>> do_flush() override { return image_->flush(); }

 private:
  std::string auto_backing_;
  std::unique_ptr<NodeBacking> backing_adapter_;
  std::unique_ptr<qcow2::Image> image_;
};

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
  co_return co_await open_node(graph,
                               Json{{"driver", header.backing_format},
                                    {"read-only", true},
                                    {"file", {{"driver", "file"}, {"filename", name}}}},
                               false, {.read_only = true, .unmap = true});
}

Error about_backing(Error error) {
  error.desc = fmt::format("Could not open backing file: {}", error.desc);
  return error;
}

Task<Result<>> open_image(block::Graph& graph, Qcow2Node& node, Json options) {
  const std::shared_ptr<storage::Storage> storage = node.file()->storage();
  if (storage == nullptr)
    co_return Error{ErrorClass::generic,
                    fmt::format("understudy: driver '{}' cannot carry a qcow2 image in this "
                                "version",
                                node.file()->driver())};
  CO_TRY(std::unique_ptr<qcow2::Image> image,
         co_await qcow2::Image::open(graph.world(), storage, !node.read_only));
  const qcow2::Header header = image->header();
  node.set_auto_backing(header.backing_file);
  node.set_image(std::move(image));
  block::NodePtr backing;
  const auto given = options.find("backing");
  if (given == options.end()) {
    auto opened = co_await open_backing_of_header(graph, header, node.file()->filename());
    if (!opened) co_return about_backing(std::move(opened).error());
    backing = *std::move(opened);
    if (backing) node.set_auto_backing(backing->filename());
  } else if (!given->is_null()) {
    auto opened = co_await open_child(graph, *given, {.read_only = true, .unmap = true});
    if (!opened) co_return about_backing(std::move(opened).error());
    backing = *std::move(opened);
  }
  if (!backing) {
    node.backing_changed();
    co_return ok();
  }
  if (Result<> set = graph.set_backing(node, backing); !set)
    co_return about_backing(std::move(set).error());
  co_return ok();
}

}  // namespace

Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, Common common, Json options) {
  common.for_children.unmap = true;
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  auto node = std::make_shared<Qcow2Node>(graph, std::move(common.name));
  node->read_only = common.read_only;
  CO_TRY_OK(graph.attach(*node, file, "file", block::kImage));
  if (Result<> opened = co_await open_image(graph, *node, std::move(options)); !opened) {
    graph.detach(*node, "file");
    co_return std::move(opened).error();
  }
  co_return node;
}

}  // namespace sim::driver
