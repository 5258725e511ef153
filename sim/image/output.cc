#include "sim/image/output.h"

#include <fmt/format.h>

#include <utility>

namespace sim::image {

Output::Output(storage::FileSystem& files, std::string path, std::string target,
               std::shared_ptr<storage::Storage> file)
    : files_(&files), path_(std::move(path)), target_(std::move(target)), file_(std::move(file)) {}

Output::Output(Output&& other) noexcept
    : files_(std::exchange(other.files_, nullptr)),
      path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      file_(std::move(other.file_)),
      present_(std::move(other.present_)) {}

Output::~Output() {
  if (files_ != nullptr) (void)files_->remove(path_);
}

Result<Output> Output::begin(storage::FileSystem& files, const std::string& path,
                             const std::string& name) {
  TRY(const std::string target, files.canonical(path));
  const auto present = files.open(target, storage::Access::read_write);
  if (!present && present.error().number != ENOENT) return present.error();
  if (present)
    TRY_OK(
        claim_file(**present, name, {.reads = false, .writes = true, .others_may_resize = false}));
  // Names that others left behind are passed over; so many are not there by chance.
  constexpr int kAttempts = 1000;
  const std::string directory = target.substr(0, target.rfind('/') + 1);
  for (int attempt = 0;; ++attempt) {
    const std::string part = fmt::format("{}.understudy-{}.part", directory, attempt);
    auto made = files.create_new(part, target);
    if (made) {
      Output output(files, part, target, *std::move(made));
      if (present) output.present_ = *present;
      return output;
    }
    if (made.error().number != EEXIST || attempt >= kAttempts) return std::move(made).error();
  }
}

Result<> Output::keep() {
  TRY_OK(files_->rename(path_, target_));
  files_ = nullptr;
  return ok();
}

Result<> refuse_source(const Context& context, const Layer& source, const std::string& name) {
  const auto identity = [&](const std::string& path) {
    const auto canonical = context.files.canonical(path);
    return canonical ? *canonical : path;
  };
  const std::string wanted = identity(absolute(context, without_protocol(name)));
  for (const Layer* layer = &source; layer != nullptr; layer = layer->backing())
    if (identity(layer->path()) == wanted)
      return os_error(EBUSY,
                      fmt::format("{}: the destination is one of the files that are read", name));
  return ok();
}

}  // namespace sim::image
