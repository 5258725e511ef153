// A file system whose files are not flushed: for what nobody needs after a power cut (QEMU's
// cache=unsafe).

#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/storage/storage.h"

namespace sim::storage {

// A handle whose flush() does nothing.
class Unflushed final : public Filter {
 public:
  using Filter::Filter;
  Task<Result<>> flush() override { co_return ok(); }
};

// `files` is referred to.
class UnflushedFiles final : public FileSystem {
 public:
  explicit UnflushedFiles(FileSystem& files) : files_(files) {}
  Result<std::shared_ptr<Storage>> open(const std::string& path, Access access) override {
    return without_flush(files_.open(path, access));
  }
  Result<std::shared_ptr<Storage>> create(const std::string& path) override {
    return without_flush(files_.create(path));
  }
  Result<std::shared_ptr<Storage>> create_new(const std::string& path,
                                              const std::string& like) override {
    return without_flush(files_.create_new(path, like));
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
  static Result<std::shared_ptr<Storage>> without_flush(Result<std::shared_ptr<Storage>> file) {
    if (!file) return file;
    return std::shared_ptr<Storage>(std::make_shared<Unflushed>(*std::move(file)));
  }

  FileSystem& files_;
};

}  // namespace sim::storage
