#include "sim/image/open.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/text.h"
#include "sim/image/layers.h"
#include "sim/image/options.h"
#include "sim/image/recognise.h"
#include "sim/image/source.h"
#include "sim/qcow2/encryption.h"
#include "sim/storage/memory.h"

namespace sim::image {

namespace {

Error refusal(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

// QEMU's name for a layer whose options are more than its file's name.
std::string shown_name(const Source& source) {
  if (source.key_secret.empty()) return source.filename;
  return fmt::format(
      R"(json:{{"encrypt.key-secret": {}, "driver": "{}", "file": {{"driver": "file", "filename": {}}}}})",
      Json(source.key_secret).dump(), source.format.empty() ? "qcow2" : source.format,
      Json(source.filename).dump());
}

// Opens a chain from the top down.
class Opener {
 public:
  Opener(const Context& context, const OpenRequest& request)
      : context_(context), request_(request) {}

  // What was opened before a refusal is closed: nothing in it has changed.
  Task<Result<std::unique_ptr<Layer>>> open() {
    auto opened = co_await open_layers();
    if (opened) co_return opened;
    for (const auto& layer : layers_)
      if (layer) (void)co_await layer->close();
    co_return opened;
  }

 private:
  Task<Result<std::unique_ptr<Layer>>> open_layers() {
    if (request_.force_share && (request_.writable || request_.backing_writable))
      co_return wrap(refusal("force-share=on can only be used with read-only images"));
    auto source = source_of(request_.filename, request_.format, request_.image_opts);
    if (!source) co_return wrap(std::move(source).error());
    std::optional<Source> next = *std::move(source);
    while (next) {
      if (layers_.size() == kChainMax)
        co_return wrap(refusal(fmt::format("more than {} layers", kChainMax)));
      auto layer = co_await open_layer(*next);
      if (!layer) co_return wrap(std::move(layer).error());
      layers_.push_back(*std::move(layer));
      auto below = source_below(*next, *layers_.back());
      if (!below) co_return wrap(std::move(below).error());
      next = *std::move(below);
    }
    for (; layers_.size() > 1; layers_.pop_back())
      layers_[layers_.size() - 2]->set_backing(std::move(layers_.back()));
    co_return std::move(layers_.front());
  }

  // The error of a layer, as QEMU says it for the name that was asked for.
  Error wrap(Error error) const {
    std::string text = fmt::format("Could not open '{}': ", request_.filename);
    if (!layers_.empty()) text += "Could not open backing file: ";
    error.desc = text + error.desc;
    return error;
  }

  bool writable() const {
    return layers_.empty() ? request_.writable : layers_.size() == 1 && request_.backing_writable;
  }

  // Opens a file and notes that it is a part of the chain.
  Result<std::shared_ptr<storage::Storage>> open_file(const std::string& path,
                                                      const std::string& name) {
    TRY(std::string identity, identity_of(path));
    if (std::ranges::find(seen_, identity) != seen_.end())
      return refusal(fmt::format("'{}' is in its own chain: the backing files make a loop", name),
                     ELOOP);
    seen_.push_back(std::move(identity));
    auto file = context_.files.open(
        path, writable() ? storage::Access::read_write : storage::Access::read_only);
    if (!file)
      return Error{ErrorClass::generic,
                   fmt::format("Could not open '{}': {}", name, file.error().desc),
                   file.error().number};
    return *std::move(file);
  }

  // As QEMU does (measured, docs/decisions/locks.md): a qcow2 file is its user's alone to change.
  Result<> claim(storage::Storage& file, const std::string& name, bool is_data_file, bool raw) {
    if (request_.force_share) return ok();
    return claim_file(file, name,
                      {.reads = !request_.metadata_only,
                       .writes = writable(),
                       .others_may_write = raw,
                       .others_may_resize = raw && !is_data_file});
  }

  Result<std::string> identity_of(const std::string& path) const {
    auto canonical = context_.files.canonical(path);
    return canonical ? *std::move(canonical) : path;  // opening it says what is wrong
  }

  Task<Result<std::unique_ptr<Layer>>> open_layer(const Source& source) {
    if (writable() && source.read_only) co_return refusal("Block node is read-only");
    const std::string path = absolute(context_, source.filename);
    CO_TRY(auto file, open_file(path, source.filename));
    std::string format = source.format;
    const bool probed = format.empty();
    if (probed) {
      std::vector<std::byte> start(std::min<std::uint64_t>(kRecogniseBytes, file->size()));
      CO_TRY_OK(co_await file->read(0, start));
      format = recognise(start);
      if (format == "raw" && writable()) warn_of_raw(context_, source.filename);
    }
    if (format == "raw" || format == "file") {
      if (!request_.snapshot.empty() && layers_.empty())
        co_return refusal(fmt::format("Could not load snapshot '{}'", request_.snapshot));
      CO_TRY_OK(claim(*file, source.filename, false, true));
      co_return make_raw_layer({.path = path,
                                .name = source.filename,
                                .shown_name = source.filename,
                                .file = std::move(file)},
                               writable(), probed);
    }
    if (is_other_format(format))
      co_return refusal(fmt::format("'{}' has the format {}, which is not in this version (-f raw "
                                    "takes the file as it is)",
                                    source.filename, format),
                        ENOTSUP);
    if (format != "qcow2") co_return refusal(fmt::format("Unknown driver '{}'", format));
    CO_TRY_OK(claim(*file, source.filename, false, false));
    auto layer = co_await open_qcow2(source, path, std::move(file));
    if (!layer && !layers_.empty())
      co_return refusal(fmt::format("'{}': {}", source.filename, layer.error().desc),
                        layer.error().number);
    co_return layer;
  }

  Task<Result<std::unique_ptr<Layer>>> open_qcow2(const Source& source, const std::string& path,
                                                  std::shared_ptr<storage::Storage> file) {
    CO_TRY(const qcow2::Header header, co_await qcow2::read_header(*file, writable()));
    warn_of_bitmaps(context_, header);
    qcow2::OpenOptions options{.writable = writable(), .lax = context_.policy.lax};
    if (layers_.empty()) options.snapshot = request_.snapshot;
    Layer::Place place{.path = path,
                       .name = source.filename,
                       .shown_name = shown_name(source),
                       .data_name = source.data_file.empty() ? header.data_file : source.data_file,
                       .file = file};
    if (header.has_data_file()) {
      CO_TRY(place.data_file, open_data_file(source, place.data_name, path));
      options.data_file = place.data_file;
    } else if (header.has_raw_data_file() && !request_.metadata_only) {
      co_return refusal("data-file-raw requires a data file");
    }
    if (request_.metadata_only) {
      CO_TRY_OK(co_await qcow2::read_luks(*file, header));  // QEMU checks it, key or no key
    } else if (header.crypt_method != 0) {
      CO_TRY(options.cipher, co_await unlock(source, *file, header));
    }
    CO_TRY(auto image, co_await qcow2::Image::open(context_.world, file, std::move(options)));
    co_return make_qcow2_layer(std::move(place), std::move(image));
  }

  Task<Result<std::shared_ptr<const crypto::SectorCipher>>> unlock(const Source& source,
                                                                   storage::Storage& file,
                                                                   const qcow2::Header& header) {
    if (source.key_secret.empty())
      co_return refusal("Parameter 'encrypt.key-secret' is required for cipher");
    const auto secret = context_.secrets.find(source.key_secret);
    if (secret == context_.secrets.end())
      co_return refusal(fmt::format("No secret with id '{}'", source.key_secret));
    co_return co_await qcow2::unlock(file, header, secret->second, context_.policy.lax);
  }

  // The name is resolved from the working directory, as QEMU does (measured, 5.2 to 11.1).
  Result<std::shared_ptr<storage::Storage>> open_data_file(const Source& source,
                                                           const std::string& name,
                                                           const std::string& image_path) {
    // Without a need for the data, nothing outside the image is touched.
    if (request_.metadata_only) return std::make_shared<storage::MemoryFile>();
    if (name.empty()) return refusal("'data-file' is required for this image");
    const std::string path = absolute(context_, name);
    if (source.data_file.empty()) {
      if (has_protocol(name))
        return refusal(
            fmt::format("the image refers to '{}': only names of files are followed", name), EPERM);
      TRY_OK(confine(context_, image_path, path));
    }
    TRY(auto file, open_file(path, name));
    TRY_OK(claim(*file, name, true, true));
    return file;
  }

  // What `layer`, opened from `source`, has below it.
  Result<std::optional<Source>> source_below(const Source& source, Layer& layer) {
    if (!request_.with_backing || layer.qcow2() == nullptr || source.without_backing)
      return std::optional<Source>();
    if (source.backing) return std::optional<Source>(*source.backing);
    const qcow2::Header& header = layer.qcow2()->header();
    if (header.backing_file.empty()) return std::optional<Source>();
    if (header.backing_file.starts_with("json:") && context_.policy.lax) {
      TRY(Source below, source_of(header.backing_file, header.backing_format, false));
      return std::optional<Source>(std::move(below));
    }
    TRY_OK(follow(context_, layer.path(), header.backing_file));
    std::string name = compose_name(layer.name(), header.backing_file);
    if (header.backing_format.empty() && !context_.policy.probe)
      return refusal(
          fmt::format("'{}' does not say which format its backing file '{}' has; "
                      "--probe lets it be recognised",
                      layer.name(), header.backing_file));
    return std::optional<Source>(
        Source{.filename = std::move(name), .format = header.backing_format});
  }

  const Context& context_;
  const OpenRequest& request_;
  std::vector<std::unique_ptr<Layer>> layers_;  // from the top
  std::vector<std::string> seen_;               // identities of all files of the chain
};

}  // namespace

Task<Result<std::unique_ptr<Layer>>> open_chain(const Context& context, OpenRequest request) {
  Opener opener(context, request);
  co_return co_await opener.open();
}

void warn_of_raw(const Context& context, const std::string& name) {
  if (!context.warn) return;
  context.warn(
      fmt::format("WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
                  "         Automatically detecting the format is dangerous for raw images, write "
                  "operations on "
                  "block 0 will be restricted.\n"
                  "         Specify the 'raw' format explicitly to remove the restrictions.",
                  name));
}

void warn_of_bitmaps(const Context& context, const qcow2::Header& header) {
  if (!header.drops_bitmaps || !context.warn) return;
  context.warn(
      "warning: a program lacking bitmap support modified this file, so all bitmaps are now "
      "considered inconsistent\n"
      "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.");
}

Result<> claim_file(storage::Storage& file, const std::string& name, const storage::Claim& claim) {
  auto claimed = file.claim(claim);
  if (claimed) return ok();
  Error error = std::move(claimed).error();
  error.desc += fmt::format("\nIs another process using the image [{}]?", name);
  return error;
}

std::string reason_of(const Error& error, const std::string& filename) {
  const std::string prefix = fmt::format("Could not open '{}': ", filename);
  return error.desc.starts_with(prefix) ? error.desc.substr(prefix.size()) : error.desc;
}

}  // namespace sim::image
