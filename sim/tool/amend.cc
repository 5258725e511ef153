// `understudy image amend`.

#include "sim/qcow2/amend.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/text.h"
#include "sim/crypto/luks_keys.h"
#include "sim/image/create_options.h"
#include "sim/image/options.h"
#include "sim/qcow2/image.h"
#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

constexpr std::string_view kHelp = R"(Amend options for 'qcow2':
  backing_file=<str>     - File name of a base image
  backing_fmt=<str>      - Image format of the base image
  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
  data_file=<str>        - File name of an external data file
  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
  encrypt.iter-time=<num> - Time to spend in PBKDF in milliseconds
  encrypt.keyslot=<num>  - Select a single keyslot to modify explicitly
  encrypt.new-secret=<str> - New secret to set in the matching keyslots. Empty string to erase
  encrypt.old-secret=<str> - Select all keyslots that match this password
  encrypt.state=<str>    - Select new state of affected keyslots (active/inactive)
  lazy_refcounts=<bool (on/off)> - Postpone refcount updates
  refcount_bits=<num>    - Width of a reference count entry in bits
  size=<size>            - Virtual disk size
)";

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Result<std::string> secret_of(const image::Context& context, const std::string& id) {
  const auto secret = context.secrets.find(id);
  if (secret == context.secrets.end()) return refuse(fmt::format("No secret with id '{}'", id));
  return secret->second;
}

// What encrypt.* says about a key slot.
struct KeyOptions {
  std::optional<std::string> state = {}, new_secret = {}, old_secret = {};
  std::optional<int> keyslot = {};
  std::uint64_t iterations = 0;
  bool any = false;
};

Result<bool> read_key_option(const std::string& name, const std::string& value, KeyOptions& key) {
  if (!name.starts_with("encrypt.")) return false;
  key.any = true;
  if (name == "encrypt.state") {
    key.state = value;
  } else if (name == "encrypt.new-secret") {
    key.new_secret = value;
  } else if (name == "encrypt.old-secret") {
    key.old_secret = value;
  } else if (name == "encrypt.keyslot") {
    TRY(const std::uint64_t slot, image::number_of(name, value));
    key.keyslot = static_cast<int>(std::min<std::uint64_t>(slot, 1000));
  } else if (name == "encrypt.iter-time") {
    TRY(const std::uint64_t milliseconds, image::number_of(name, value));
    key.iterations = crypto::iterations_for(milliseconds);
  } else {
    return false;
  }
  return true;
}

Result<bool> read_option(const std::string& name, const std::string& value,
                         qcow2::AmendOptions& options) {
  if (name == "compat") {
    if (!is_listed("0.10|v2|1.1|v3", value))
      return refuse(fmt::format("Unknown compatibility level {}", value));
    options.version = is_listed("0.10|v2", value) ? 2 : 3;
  } else if (name == "size") {
    TRY(options.size, image::size_of(name, value));
  } else if (name == "refcount_bits") {
    TRY(options.refcount_order, image::refcount_order_of(name, value));
  } else if (name == "lazy_refcounts") {
    TRY(options.lazy_refcounts, image::switch_of(name, value));
  } else if (name == "data_file_raw") {
    TRY(options.data_file_raw, image::switch_of(name, value));
  } else if (name == "data_file") {
    options.data_file = value;
  } else if (name == "backing_file") {
    options.backing_file = value;
  } else if (name == "backing_fmt") {
    options.backing_format = value;
  } else {
    return false;
  }
  return true;
}

// The key change that the options mean, if the image has keys.
Result<> finish_key(const image::Context& context, const KeyOptions& given, bool force,
                    qcow2::AmendOptions& options) {
  if (!given.any) return ok();
  if (!given.state) return refuse("Parameter 'state' is missing");
  if (!is_listed("active|inactive", *given.state))
    return refuse(fmt::format("Parameter 'state' does not accept value '{}'", *given.state));
  qcow2::AmendOptions::Key key{.activate = *given.state == "active",
                               .keyslot = given.keyslot,
                               .iterations = given.iterations,
                               .force = force};
  if (key.activate && !given.new_secret)
    return refuse("'new-secret' is required to activate a keyslot");
  if (given.new_secret) {
    TRY(key.new_secret, secret_of(context, *given.new_secret));
  }
  if (given.old_secret) {
    TRY(key.old_secret, secret_of(context, *given.old_secret));
  }
  options.key = std::move(key);
  return ok();
}

// The passphrase that the image is opened with.
std::string present_secret(const Invocation& invocation) {
  if (!invocation.has("image-opts")) return {};
  const auto options = parse_image_opts(invocation.names().front());
  if (!options || !options->is_object()) return {};
  const auto encrypt = options->find("encrypt");
  if (encrypt == options->end() || !encrypt->is_object()) return {};
  const auto id = encrypt->find("key-secret");
  if (id == encrypt->end() || !id->is_string()) return {};
  const auto secret = secret_of(invocation.context(), id->get<std::string>());
  return secret ? *secret : std::string();
}

Result<qcow2::AmendOptions> read_options(const Invocation& invocation,
                                         const image::OptionPairs& given, bool encrypted) {
  qcow2::AmendOptions options;
  KeyOptions key;
  for (const auto& [name, value] : given) {
    TRY(bool known, read_option(name, value, options));
    if (!known) {
      TRY(known, read_key_option(name, value, key));
    }
    if (!known) return refuse(fmt::format("Invalid parameter '{}'", name));
  }
  if (key.any && !encrypted)
    return refuse("Can't amend encryption options - encryption not present");
  TRY_OK(finish_key(invocation.context(), key, invocation.has("force"), options));
  options.unlock_secret = present_secret(invocation);
  options.random = invocation.surroundings().random;
  return options;
}

Task<Result<>> amend_layer(const Invocation& invocation, image::Layer& layer,
                           const image::OptionPairs& given) {
  if (layer.qcow2() == nullptr)
    co_return refuse(
        fmt::format("Format driver '{}' does not support option amendment", layer.format()));
  qcow2::Image& image = *layer.qcow2();
  CO_TRY(qcow2::AmendOptions options,
         read_options(invocation, given, image.header().crypt_method != 0));
  co_return co_await qcow2::amend(image, std::move(options));
}

}  // namespace

Task<int> amend_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'o', "options", true},
                                          {'p', "progress", false},
                                          {'q', "quiet", false},
                                          {'t', "", true},
                                          {'\0', "force", false}}))
    co_return *code;
  if (const auto code = check_cache_mode(invocation, "cache", invocation.value("t", "writeback")))
    co_return *code;
  if (!invocation.has("o")) co_return invocation.bad_usage("Must specify options (-o)");
  if (std::ranges::any_of(invocation.values("o"), image::asks_for_help)) {
    invocation.print(kHelp);
    co_return 0;
  }
  if (invocation.names().size() != 1) co_return invocation.fail("Expecting one image file name");
  image::OptionPairs given;
  for (const std::string& text : invocation.values("o")) {
    const auto pairs = parse_key_values(text);
    if (!pairs) co_return invocation.fail(fmt::format("Invalid option list: {}", text));
    given.insert(given.end(), pairs->begin(), pairs->end());
  }
  auto opened = co_await image::open_chain(invocation.context(),
                                           invocation.request(invocation.names().front(), true));
  if (!opened) co_return invocation.fail(opened.error().desc);
  const auto amended = co_await amend_layer(invocation, **opened, given);
  const auto closed = co_await (*opened)->close();
  if (!amended) co_return invocation.fail(amended.error().desc);
  if (!closed) co_return invocation.fail(closed.error().desc);
  co_return 0;
}

}  // namespace sim::tool
