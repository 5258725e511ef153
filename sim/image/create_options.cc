#include "sim/image/create_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/base/text.h"
#include "sim/crypto/luks_keys.h"
#include "sim/image/options.h"

namespace sim::image {

namespace {

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Error unknown_value(std::string_view parameter, std::string_view value) {
  return refuse(fmt::format("Parameter '{}' does not accept value '{}'", parameter, value));
}

Result<std::uint32_t> version_of(const std::string& value) {
  if (is_listed("0.10|v2", value)) return 2U;
  if (is_listed("1.1|v3", value)) return 3U;
  return unknown_value("version", value);
}

Result<qcow2::Preallocation> preallocation_of(const std::string& value) {
  using enum qcow2::Preallocation;
  if (value == "off") return off;
  if (value == "metadata") return metadata;
  if (value == "falloc") return falloc;
  if (value == "full") return full;
  return unknown_value("preallocation", value);
}

Result<qcow2::Compression> compression_of(const std::string& value) {
  if (value == "zlib") return qcow2::Compression::zlib;
  if (value == "zstd") return qcow2::Compression::zstd;
  return unknown_value("compression-type", value);
}

Result<std::uint32_t> cluster_bits_of(std::uint64_t bytes) {
  if (std::has_single_bit(bytes)) return static_cast<std::uint32_t>(std::countr_zero(bytes));
  return refuse("Cluster size must be a power of two between 512 and 2048k");
}

// What the options say about encryption, put together at the end.
struct Encryption {
  std::string format, key_secret;
  bool any = false;
};

// One option of encrypt.*; false: there is none of that name.
Result<bool> read_encryption(const std::string& name, const std::string& value,
                             qcow2::EncryptOptions& options, Encryption& encryption) {
  const std::string member = name.substr(std::string_view("encrypt.").size());
  encryption.any = true;
  if (member == "iter-time") {
    TRY(const std::uint64_t milliseconds, number_of(name, value));
    options.iterations = crypto::iterations_for(milliseconds);
  } else if (member == "format") {
    encryption.format = value;
  } else if (member == "key-secret") {
    encryption.key_secret = value;
  } else if (member == "cipher-alg") {
    options.cipher_alg = value;
  } else if (member == "cipher-mode") {
    options.cipher_mode = value;
  } else if (member == "ivgen-alg") {
    options.ivgen_alg = value;
  } else if (member == "ivgen-hash-alg") {
    options.ivgen_hash_alg = value;
  } else if (member == "hash-alg") {
    options.hash_alg = value;
  } else {
    return false;
  }
  return true;
}

Result<bool> read_layout(const std::string& name, const std::string& value,
                         qcow2::CreateOptions& options) {
  if (name == "compat") {
    TRY(options.version, version_of(value));
  } else if (name == "cluster_size") {
    TRY(const std::uint64_t bytes, size_of(name, value));
    TRY(options.cluster_bits, cluster_bits_of(bytes));
  } else if (name == "refcount_bits") {
    TRY(options.refcount_order, refcount_order_of(name, value));
  } else if (name == "lazy_refcounts") {
    TRY(options.lazy_refcounts, switch_of(name, value));
  } else if (name == "extended_l2") {
    TRY(options.extended_l2, switch_of(name, value));
  } else if (name == "compression_type") {
    TRY(options.compression, compression_of(value));
  } else if (name == "backing_file") {
    options.backing_file = value;
  } else if (name == "backing_fmt") {
    options.backing_format = value;
  } else if (name == "data_file") {
    options.data_file = value;
  } else if (name == "data_file_raw") {
    TRY(options.data_file_raw, switch_of(name, value));
  } else {
    return false;
  }
  return true;
}

// What every format knows; the last two concern the host's file system, and change nothing here.
Result<bool> read_common(const std::string& name, const std::string& value,
                         qcow2::CreateOptions& options) {
  if (name == "size") {
    TRY(options.size, size_of(name, value));
  } else if (name == "preallocation") {
    TRY(options.preallocation, preallocation_of(value));
  } else if (name == "nocow") {
    TRY_OK(switch_of(name, value));
  } else if (name == "extent_size_hint") {
    TRY_OK(size_of(name, value));
  } else {
    return false;
  }
  return true;
}

Result<> finish_encryption(const Context& context, const Encryption& encryption,
                           qcow2::EncryptOptions& options) {
  using Format = qcow2::EncryptOptions::Format;
  if (!encryption.any) return ok();
  if (encryption.format.empty()) return refuse("Parameter 'encrypt.format' is missing");
  if (encryption.format != "aes" && encryption.format != "luks")
    return unknown_value("format", encryption.format);
  options.format = encryption.format == "aes" ? Format::aes : Format::luks;
  if (encryption.key_secret.empty())
    return refuse("Parameter 'encrypt.key-secret' is required for cipher");
  const auto secret = context.secrets.find(encryption.key_secret);
  if (secret == context.secrets.end())
    return refuse(fmt::format("No secret with id '{}'", encryption.key_secret));
  options.passphrase = secret->second;
  return ok();
}

constexpr std::string_view kQcow2Help = R"(Supported options:
  backing_file=<str>     - File name of a base image
  backing_fmt=<str>      - Image format of the base image
  cluster_size=<size>    - qcow2 cluster size
  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
  compression_type=<str> - Compression method used for image cluster compression
  data_file=<str>        - File name of an external data file
  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
  encrypt.cipher-alg=<str> - Name of encryption cipher algorithm
  encrypt.cipher-mode=<str> - Name of encryption cipher mode
  encrypt.format=<str>   - Encrypt the image, format choices: 'aes', 'luks'
  encrypt.hash-alg=<str> - Name of encryption hash algorithm
  encrypt.iter-time=<num> - Time to spend in PBKDF in milliseconds
  encrypt.ivgen-alg=<str> - Name of IV generator algorithm
  encrypt.ivgen-hash-alg=<str> - Name of IV generator hash algorithm
  encrypt.key-secret=<str> - ID of secret providing qcow AES key or LUKS passphrase
  encryption=<bool (on/off)> - Encrypt the image with format 'aes'. )"
                                        R"((Deprecated in favor of encrypt.format=aes)
  extended_l2=<bool (on/off)> - Extended L2 tables
  extent_size_hint=<size> - Extent size hint for the image file, 0 to disable
  lazy_refcounts=<bool (on/off)> - Postpone refcount updates
  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)
  preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)
  refcount_bits=<num>    - Width of a reference count entry in bits
  size=<size>            - Virtual disk size
)";

constexpr std::string_view kRawHelp = R"(Supported options:
  extent_size_hint=<size> - Extent size hint for the image file, 0 to disable
  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)
  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)
  size=<size>            - Virtual disk size
)";

}  // namespace

bool asks_for_help(const std::string& options) {
  const auto pairs = parse_key_values(options);
  if (!pairs) return false;
  return std::ranges::any_of(
      *pairs, [](const auto& pair) { return pair.first == "help" || pair.first == "?"; });
}

std::string create_options_help(const std::string& format) {
  return std::string(format == "raw" ? kRawHelp : kQcow2Help);
}

Result<qcow2::CreateOptions> read_create_options(const Context& context, const std::string& format,
                                                 const OptionPairs& given,
                                                 qcow2::CreateOptions defaults,
                                                 std::function<void(MutableBytes)> random) {
  qcow2::CreateOptions options = std::move(defaults);
  options.encrypt.random = std::move(random);
  Encryption encryption;
  for (const auto& [name, value] : given) {
    TRY(bool known, read_common(name, value, options));
    if (!known && format == "qcow2") {
      if (name == "encryption") {
        TRY(const bool on, switch_of(name, value));
        if (on) encryption = {.format = "aes", .key_secret = encryption.key_secret, .any = true};
        known = true;
      } else if (name.starts_with("encrypt.")) {
        TRY(known, read_encryption(name, value, options.encrypt, encryption));
      } else {
        TRY(known, read_layout(name, value, options));
      }
    }
    if (!known) return refuse(fmt::format("Invalid parameter '{}'", name));
  }
  TRY_OK(finish_encryption(context, encryption, options.encrypt));
  return options;
}

}  // namespace sim::image
