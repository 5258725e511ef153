// A file that is there whole or not at all: written beside its name, renamed when it is finished.

#pragma once

#include <memory>
#include <string>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/image/open.h"
#include "sim/storage/storage.h"

namespace sim::image {

class Output {
 public:
  // Makes an empty file beside `path` (absolute; a link is followed).  Refused, with the errno of
  // an open(2), if what is at `path` is no file or may not be written.
  // What is at `path` is claimed until the object goes; `name` is what it is called in the error.
  static Result<Output> begin(storage::FileSystem& files, const std::string& path,
                              const std::string& name);
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();  // removes what was not kept

  const std::string& path() const { return path_; }  // where it is until it is kept
  const std::shared_ptr<storage::Storage>& file() const { return file_; }

  // It takes its name, and what was there before is gone.
  Result<> keep();

 private:
  Output(storage::FileSystem& files, std::string path, std::string target,
         std::shared_ptr<storage::Storage> file);

  storage::FileSystem* files_;  // null: nothing is left to be removed
  std::string path_, target_;
  std::shared_ptr<storage::Storage> file_;
  std::shared_ptr<storage::Storage> present_;  // what is to be replaced; null: nothing
};

// Refuses the name of a file that `source` or a layer beneath it reads from, links resolved.
Result<> refuse_source(const Context& context, const Layer& source, const std::string& name);

}  // namespace sim::image
