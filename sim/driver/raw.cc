// Driver `raw`: a stretch of its file child, by default all of it.

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "sim/driver/open.h"

namespace sim::driver {

namespace {

class RawNode final : public block::Node {
 public:
  RawNode(World& world, std::string name, block::NodePtr file, std::uint64_t offset,
          std::optional<std::uint64_t> size)
      : Node(world, std::move(name), "raw"), offset_(offset), size_(size) {
    attach("file", std::move(file));
  }

  Task<Result<>> flush() override { return file()->flush(); }
  bool passes_permissions() const override { return true; }
  std::uint64_t size() const override { return size_ ? *size_ : file()->size() - offset_; }
  std::shared_ptr<storage::Storage> storage() const override {
    return offset_ == 0 && !size_ ? file()->storage() : nullptr;
  }
  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    return file()->status(offset_ + offset, length);
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return file()->read(offset_ + offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return file()->write(offset_ + offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return file()->write_zeroes(offset_ + offset, length, unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return file()->discard(offset_ + offset, length);
  }

 private:
  std::uint64_t offset_;
  std::optional<std::uint64_t> size_;
};

}  // namespace

Task<Result<block::NodePtr>> open_raw(block::Graph& graph, std::string name, Json options) {
  CO_TRY(block::NodePtr file, co_await open_child(graph, options["file"]));
  // A writer takes its lock when somebody comes to write through it (check_writable).
  if (options.value("read-only", false)) CO_TRY_OK(check_lock(graph, *file, false));
  const std::uint64_t offset = options.value("offset", std::uint64_t{0});
  if (offset > file->size())
    co_return Error{ErrorClass::generic,
                    fmt::format("Offset ({}) cannot be greater than size of the containing file "
                                "({})",
                                offset, file->size())};
  std::optional<std::uint64_t> size;
  if (options.contains("size")) {
    size = options["size"].get<std::uint64_t>();
    if (*size % 512 != 0)
      co_return Error{ErrorClass::generic, "Specified size is not multiple of 512"};
    if (*size > file->size() - offset)
      co_return Error{ErrorClass::generic,
                      fmt::format("The sum of offset ({}) and size ({}) has to be smaller or equal "
                                  "to the  actual size of the containing file ({})",
                                  offset, *size, file->size())};
  }
  co_return std::make_shared<RawNode>(graph.world(), std::move(name), std::move(file), offset,
                                      size);
}

}  // namespace sim::driver
