// A FileSystem whose open files have a filter in front.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/storage/storage.h"

namespace sim::storage {

// `filter` is given the path and the file each time one is opened or created, and answers with what
// the user shall have: the file itself, or a filter before it.  `files` must outlive this.
class FilteredFiles final : public FileSystem {
 public:
  using MakeFilter =
      std::function<std::shared_ptr<Storage>(const std::string& path, std::shared_ptr<Storage>)>;

  FilteredFiles(FileSystem& files, MakeFilter filter) : files_(files), filter_(std::move(filter)) {}

  Result<std::shared_ptr<Storage>> open(const std::string& path, Access access) override {
    TRY(auto file, files_.open(path, access));
    return filter_(path, std::move(file));
  }
  Result<std::shared_ptr<Storage>> create(const std::string& path) override {
    TRY(auto file, files_.create(path));
    return filter_(path, std::move(file));
  }
  Result<std::shared_ptr<Storage>> create_new(const std::string& path,
                                              const std::string& like) override {
    TRY(auto file, files_.create_new(path, like));
    return filter_(path, std::move(file));
  }
  bool exists(const std::string& path) const override { return files_.exists(path); }
  Result<> remove(const std::string& path) override { return files_.remove(path); }
  Result<> rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  Result<std::string> canonical(const std::string& path) const override {
    return files_.canonical(path);
  }
  std::vector<std::string> list(const std::string& directory) const override {
    return files_.list(directory);
  }

 private:
  FileSystem& files_;
  MakeFilter filter_;
};

}  // namespace sim::storage
