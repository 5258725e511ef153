#include "sim/image/new_image.h"

#include <fmt/format.h>

#include <utility>

#include "sim/image/layers.h"
#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::image {

static Result<Output> begin(const Context& context, const std::string& name) {
  auto output = Output::begin(context.files, absolute(context, without_protocol(name)), name);
  if (output || output.error().number == EAGAIN) return output;
  return os_error(output.error().number, fmt::format("Could not create '{}'", name));
}

Task<Result<NewImage>> NewImage::make(const Context& context, std::string filename,
                                      std::string format, qcow2::CreateOptions options) {
  CO_TRY(Output file, begin(context, filename));
  std::optional<Output> data_file;
  if (!options.data_file.empty()) {
    CO_TRY(Output made, begin(context, options.data_file));
    data_file.emplace(std::move(made));
  }
  NewImage image(std::move(file), std::move(data_file));
  CO_TRY_OK(co_await image.open(context, format, options));
  co_return image;
}

// Makes and opens it, as what is beneath its name for now.
Task<Result<>> NewImage::open(const Context& context, const std::string& format,
                              const qcow2::CreateOptions& options) {
  const std::shared_ptr<storage::Storage> file = file_.file();
  Layer::Place place;
  place.path = place.name = place.shown_name = file_.path();
  place.file = file;
  if (format == "raw") {
    if (!options.backing_file.empty())
      co_return Error{ErrorClass::generic, "Backing file not supported for file format 'raw'",
                      ENOTSUP};
    layer_ = make_raw_layer(std::move(place), true);
    co_return co_await layer_->resize(align_up(options.size, qcow2::format::kSector),
                                      options.preallocation);
  }
  const auto data_file = data_file_ ? data_file_->file() : nullptr;
  CO_TRY_OK(co_await qcow2::create(file, options, data_file));
  CO_TRY(const qcow2::Header header, co_await qcow2::read_header(*file, true));
  CO_TRY(auto cipher, co_await qcow2::unlock(*file, header, options.encrypt.passphrase));
  CO_TRY(auto image, co_await qcow2::Image::open(
                         context.world, file,
                         {.writable = true, .data_file = data_file, .cipher = std::move(cipher)}));
  place.data_file = data_file;
  layer_ = make_qcow2_layer(std::move(place), std::move(image));
  if (options.backing_file.empty()) co_return ok();
  CO_TRY(const std::string below, follow(context, file_.path(), options.backing_file));
  OpenRequest request{.filename = below, .format = options.backing_format};
  auto backing = co_await open_chain(context, std::move(request));
  if (!backing)
    co_return Error{ErrorClass::generic,
                    fmt::format("Could not open backing file: {}", backing.error().desc),
                    backing.error().number};
  layer_->set_backing(*std::move(backing));
  co_return ok();
}

Task<Result<>> NewImage::finish() {
  CO_TRY_OK(co_await layer_->close());
  layer_.reset();
  if (data_file_) CO_TRY_OK(data_file_->keep());
  co_return file_.keep();
}

}  // namespace sim::image
