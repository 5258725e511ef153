// A qcow2 image and what shows through it.

#include <algorithm>

#include "sim/image/layers.h"
#include "sim/image/preallocated.h"

namespace sim::image {

namespace {

using qcow2::GuestOffset;

// What an image sees of the layer below it.
class Below final : public qcow2::Backing {
 public:
  explicit Below(Layer& layer) : layer_(layer) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    const std::uint64_t there = offset < layer_.size() ? layer_.size() - offset : 0;
    const std::uint64_t part = std::min<std::uint64_t>(into.size(), there);
    std::ranges::fill(into.subspan(part), std::byte{0});
    if (part > 0) CO_TRY_OK(co_await layer_.read(offset, into.first(part)));
    co_return ok();
  }
  std::uint64_t size() const override { return layer_.size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) override {
    while (length > 0 && offset < layer_.size()) {
      CO_TRY(const ChainStatus found,
             co_await status_of_chain(layer_, offset, std::min(length, layer_.size() - offset)));
      if (!found.status.zero) co_return false;
      offset += found.status.length;
      length -= std::min(length, found.status.length);
    }
    co_return true;
  }

 private:
  Layer& layer_;
};

class Qcow2Layer final : public Layer {
 public:
  Qcow2Layer(Place place, std::unique_ptr<qcow2::Image> image)
      : Layer(std::move(place)), image_(std::move(image)) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    if (backing() == nullptr) return image_->read(GuestOffset{offset}, into);
    return read_chain(offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    forget();
    return image_->write(GuestOffset{offset}, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    forget();
    return image_->write_zeroes(GuestOffset{offset}, length, unmap);
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    forget();
    return image_->discard(GuestOffset{offset}, length);
  }
  Task<Result<>> write_compressed(std::uint64_t offset, Bytes from) override {
    forget();
    return image_->write_compressed(GuestOffset{offset}, from);
  }
  Task<Result<>> flush() override { return image_->flush(); }
  Task<Result<>> resize(std::uint64_t size, qcow2::Preallocation preallocation) override {
    forget();
    return image_->resize(size, preallocation);
  }

  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    std::vector<Status> found;
    CO_TRY_OK(co_await statuses(offset, length, 1, found));
    co_return found.front();
  }
  Task<Result<>> statuses(std::uint64_t offset, std::uint64_t length, std::size_t most,
                          std::vector<Status>& into) override {
    std::vector<qcow2::Extent> extents;
    CO_TRY_OK(co_await image_->statuses(GuestOffset{offset}, length, most, extents));
    for (const qcow2::Extent& extent : extents) {
      Status status = status_of(extent);
      if (status.placed && status.data) {
        CO_TRY(const bool reserved, co_await is_reserved_only());
        if (reserved) look_into_file(status);
      }
      into.push_back(status);
      if (status.length < extent.length) break;
    }
    co_return ok();
  }
  Task<Result<>> close() override {
    CO_TRY_OK(co_await image_->close());
    if (backing() != nullptr) CO_TRY_OK(co_await backing()->close());
    co_return ok();
  }

  std::uint64_t size() const override { return image_->size(); }
  std::uint64_t cluster_size() const override { return image_->cluster_size(); }
  const char* format() const override { return "qcow2"; }
  qcow2::Image* qcow2() override { return image_.get(); }

  void set_backing(std::unique_ptr<Layer> backing) override {
    below_ = backing ? std::make_unique<Below>(*backing) : nullptr;
    image_->set_backing(below_.get());
    Layer::set_backing(std::move(backing));
  }

 private:
  Status status_of(const qcow2::Extent& extent) const {
    using Kind = qcow2::Extent::Kind;
    const bool encrypted = image_->header().crypt_method != 0;
    return {.length = extent.length,
            .allocated = extent.kind != Kind::absent,
            .zero = extent.kind == Kind::zero,
            .data = extent.kind == Kind::data || extent.kind == Kind::compressed,
            .compressed = extent.kind == Kind::compressed,
            .placed = (extent.kind == Kind::data || extent.placed) && !encrypted,
            .offset = extent.host.value};
  }
  // QEMU looks for holes behind the data of an image whose clusters were only reserved.
  Task<Result<bool>> is_reserved_only() {
    if (!reserved_only_) {
      CO_TRY(reserved_only_, co_await is_preallocated(*file(), image_->header()));
    }
    co_return *reserved_only_;
  }
  void look_into_file(Status& status) const {
    const storage::Storage& store = data_file() ? *data_file() : *file();
    if (status.offset >= store.size()) {
      status.zero = true;
      return;
    }
    const storage::Extent extent = store.extent_at(status.offset);
    const bool to_the_end = status.offset + extent.length >= store.size();
    if (!extent.data) status.zero = true;
    if (extent.data || !to_the_end) status.length = std::min(status.length, extent.length);
  }

  // Each stretch comes from the layer that has it, without passing through those above.
  Task<Result<>> read_chain(std::uint64_t offset, MutableBytes into) {
    if (offset > size() || into.size() > size() - offset) co_return os_error(EIO);
    while (!into.empty()) {
      CO_TRY(const ChainStatus found, co_await status_of_chain(*this, offset, into.size()));
      const MutableBytes part = into.first(found.status.length);
      if (found.status.zero)
        std::ranges::fill(part, std::byte{0});
      else if (qcow2::Image* image = found.layer->qcow2())
        CO_TRY_OK(co_await image->read(GuestOffset{offset}, part));
      else
        CO_TRY_OK(co_await found.layer->read(offset, part));
      into = into.subspan(part.size());
      offset += part.size();
    }
    co_return ok();
  }

  std::unique_ptr<qcow2::Image> image_;
  std::optional<bool> reserved_only_;  // not known yet: empty
  std::unique_ptr<Below> below_;
};

}  // namespace

std::unique_ptr<Layer> make_qcow2_layer(Layer::Place place, std::unique_ptr<qcow2::Image> image) {
  return std::make_unique<Qcow2Layer>(std::move(place), std::move(image));
}

}  // namespace sim::image
