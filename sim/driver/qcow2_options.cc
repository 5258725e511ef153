#include "sim/driver/qcow2_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/size.h"
#include "sim/driver/open.h"
#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"

namespace sim::driver {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<> check_caches(const Json& options, const qcow2::Header& header) {
  const std::uint64_t cluster = header.geometry().cluster_bytes();
  const auto size_of = [&](const char* name) { return options.value(name, std::uint64_t{0}); };
  const bool all = options.contains("cache-size"), tables = options.contains("l2-cache-size"),
             counts = options.contains("refcount-cache-size");
  if (all && tables && counts)
    return generic(
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  if (all && tables && size_of("l2-cache-size") > size_of("cache-size"))
    return generic("l2-cache-size may not exceed cache-size");
  if (all && counts && size_of("refcount-cache-size") > size_of("cache-size"))
    return generic("refcount-cache-size may not exceed cache-size");
  const std::uint64_t entry = options.value("l2-cache-entry-size", std::min(cluster, 4_KiB));
  if (!is_power_of_two(entry) || entry < 512 || entry > cluster)
    return generic(fmt::format(
        "L2 cache entry size must be a power of two between 512 and the cluster size ({})",
        cluster));
  // What the tables of the whole disk do not need, the counts get.
  const std::uint64_t most = align_up(header.size / cluster * 8, entry);
  const std::uint64_t for_counts =
      counts ? size_of("refcount-cache-size")
      : all  ? size_of("cache-size") -
                  std::min(size_of("cache-size"), tables ? size_of("l2-cache-size") : most)
            : 0;
  if (for_counts / cluster > INT32_MAX) return generic("Refcount cache size too big");
  return ok();
}

constexpr std::array<std::string_view, 3> kFormats = {"none", "aes", "luks"};

Result<> check_encryption(const Json& options, const qcow2::Header& header) {
  const auto given = options.find("encrypt");
  if (given == options.end()) {
    if (header.crypt_method != qcow2::format::kCryptNone)
      return generic("Parameter 'encrypt.key-secret' is required for cipher");
    return ok();
  }
  const std::string format = (*given)["format"].get<std::string>();
  if (header.crypt_method == qcow2::format::kCryptNone)
    return generic(
        fmt::format("No encryption in image header, but options specified format '{}'", format));
  const std::string_view actual = kFormats.at(header.crypt_method);
  if (format != actual)
    return generic(fmt::format("Header reported '{}' encryption format but options specify '{}'",
                               actual, format));
  if (!given->contains("key-secret"))
    return generic("Parameter 'encrypt.key-secret' is required for cipher");
  return ok();
}

}  // namespace

Result<> check_qcow2_options(const Json& options, const qcow2::Header& header,
                             const Profile& profile) {
  TRY_OK(check_sizes(options,
                     {"cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size"},
                     profile));
  TRY_OK(check_caches(options, header));
  const auto interval = options.value("cache-clean-interval", std::int64_t{0});
  if (interval < 0 || interval > UINT32_MAX) return generic("Cache clean interval too big");
  if (options.value("lazy-refcounts", false) && header.version < 3)
    return generic(
        "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  if (options.value("discard-no-unref", false) && header.version < 3)
    return generic("discard-no-unref is only supported since qcow2 version 3");
  return check_encryption(options, header);
}

Result<std::string> find_secret(const block::Graph& graph, const std::string& id) {
  const auto secret = graph.secrets.find(id);
  if (secret == graph.secrets.end()) return generic(fmt::format("No secret with id '{}'", id));
  return secret->second;
}

Task<Result<std::shared_ptr<const crypto::SectorCipher>>> unlock_qcow2(block::Graph& graph,
                                                                       Json options,
                                                                       storage::Storage& file,
                                                                       qcow2::Header header) {
  if (header.crypt_method == qcow2::format::kCryptNone)
    co_return std::shared_ptr<const crypto::SectorCipher>();
  if (header.crypt_method == qcow2::format::kCryptAes)
    co_return generic(
        "Use of AES-CBC encrypted qcow2 images is no longer supported in system emulators");
  const std::string id = options["encrypt"]["key-secret"].get<std::string>();
  CO_TRY(std::string passphrase, find_secret(graph, id));
  co_return co_await qcow2::unlock(file, header, std::move(passphrase));
}

}  // namespace sim::driver
