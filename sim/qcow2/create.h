// Making a new image, byte for byte as `qemu-img create -f qcow2` of QEMU 7.2 does.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// QAPI: PreallocMode.
enum class Preallocation : unsigned char { off, metadata, falloc, full };

enum class Compression : unsigned char { zlib = 0, zstd = 1 };

// How the guest's data is to be encrypted.
struct EncryptOptions {
  enum class Format : unsigned char { none, aes, luks };
  Format format = Format::none;
  std::string passphrase = {};
  // LUKS only; empty or 0: QEMU's default.
  std::string cipher_alg = {}, cipher_mode = {}, ivgen_alg = {}, ivgen_hash_alg = {}, hash_alg = {};
  std::uint64_t iterations = 0;  // of PBKDF2; QEMU measures how many fit its iter-time
  // Where the master key and the salts come from; required for LUKS.  This room has no chance.
  std::function<void(MutableBytes)> random = {};
};

struct CreateOptions {
  std::uint64_t size = 0;  // virtual size in bytes, rounded up to whole sectors of 512
  std::uint32_t cluster_bits = 16;
  std::string backing_file = {};    // stored as it is; empty: none
  std::string backing_format = {};  // stored as it is; empty: none
  std::uint32_t version = 3;
  std::uint32_t refcount_order = 4;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  Compression compression = Compression::zlib;
  Preallocation preallocation = Preallocation::off;
  std::string data_file = {};  // name as stored; empty: none
  bool data_file_raw = false;
  EncryptOptions encrypt = {};
  // Writes into the file as it is, as blockdev-create does: what was beyond the new structures
  // stays, and what is refused late leaves what was written until then.
  bool keeps_file = false;
};

// The first thing that create() refuses, but for the size, in QEMU's order.
Result<> check_create_options(const CreateOptions& options);

// Empties `file` and writes an empty image into it, in QEMU's layout: header, refcount table,
// refcount block, L1 table (format.md).  EINVAL, EFBIG and ENOTSUP for options that QEMU refuses,
// with its words; then the file is untouched.
// `data_file` is the open external data file when options.data_file is not empty.
Task<Result<>> create(std::shared_ptr<storage::Storage> file, CreateOptions options,
                      std::shared_ptr<storage::Storage> data_file = nullptr);

// The same for a file that the caller keeps, without a data file.
Task<Result<>> create(storage::Storage& file, CreateOptions options);

}  // namespace sim::qcow2
