// A new image that is written and then takes its name, with the external data file it may have.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/image/open.h"
#include "sim/image/output.h"
#include "sim/qcow2/create.h"

namespace sim::image {

class NewImage {
 public:
  // `filename` as it was typed; `format` is "raw" (of the options its size and preallocation count)
  // or "qcow2".  Backing files that the options name are opened.  Errors of making the file are
  // QEMU's, without the name in front.
  static Task<Result<NewImage>> make(const Context& context, std::string filename,
                                     std::string format, qcow2::CreateOptions options);
  NewImage(NewImage&&) = default;

  Layer& layer() { return *layer_; }
  // Closes it; the files take their names.  What is not finished is gone with the object.
  Task<Result<>> finish();

 private:
  NewImage(Output file, std::optional<Output> data_file)
      : file_(std::move(file)), data_file_(std::move(data_file)) {}
  Task<Result<>> open(const Context& context, const std::string& format,
                      const qcow2::CreateOptions& options);

  Output file_;
  std::optional<Output> data_file_;
  std::unique_ptr<Layer> layer_;  // ends before its files do
};

}  // namespace sim::image
