// What `qemu-img amend` changes in place.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "sim/base/result.h"
#include "sim/qcow2/create.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// What is absent stays as it is.
struct AmendOptions {
  std::optional<std::uint32_t> version = {};
  std::optional<std::uint64_t> size = {};
  // QEMU takes what the image has already, both or neither, and refuses anything else.
  std::optional<std::string> backing_file = {}, backing_format = {};
  std::optional<bool> lazy_refcounts = {};
  std::optional<std::uint32_t> refcount_order = {};
  std::optional<std::string> data_file = {};
  std::optional<bool> data_file_raw = {};
  struct Key {  // QAPI: QCryptoBlockAmendOptionsLUKS
    bool activate = true;
    std::string new_secret = {}, old_secret = {};
    std::optional<int> keyslot = {};
    std::uint64_t iterations = 0;
    bool force = false;
  };
  std::optional<Key> key = {};
  std::string unlock_secret = {};  // the image's present passphrase, for `key`
  std::function<void(MutableBytes)> random = {};
};

// Changes the header and the tables of `image`, which is open for writing.  Options that QEMU
// refuses are refused in its words, and before anything is written if that can be known.
class Image;
Task<Result<>> amend(Image& image, AmendOptions options);

}  // namespace sim::qcow2
