// blockdev-create: files and qcow2 images.
//
// Source: QAPI's BlockdevCreateOptions; texts measured on 5.2 to 11.1 (scenarios/qmp/create).

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "sim/base/text.h"
#include "sim/block/backend.h"
#include "sim/command/context.h"
#include "sim/driver/node_storage.h"
#include "sim/driver/open.h"
#include "sim/job/create.h"
#include "sim/qcow2/create.h"

namespace sim::command {

namespace {

using block::NodePtr;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// Other drivers that blockdev-create knows; and those that are modules which are not there.
constexpr std::string_view kOtherCreators = "luks|parallels|qcow|qed|vdi|vhdx|vmdk|vpc";
constexpr std::string_view kModules = "gluster|nfs|rbd|sheepdog|ssh";

constexpr std::array kPreallocations = {std::pair{"off", qcow2::Preallocation::off},
                                        std::pair{"metadata", qcow2::Preallocation::metadata},
                                        std::pair{"falloc", qcow2::Preallocation::falloc},
                                        std::pair{"full", qcow2::Preallocation::full}};

qcow2::Preallocation preallocation_of(const Json& options) {
  const std::string given = options.value("preallocation", "off");
  return std::ranges::find(kPreallocations, given,
                           [](const auto& row) { return std::string_view(row.first); })
      ->second;
}

// --- files ---------------------------------------------------------------------------------------

// The file there, opened as one that is to be written anew.
Task<Result<>> write_file(Context& context, std::string path, Json options) {
  CO_TRY(const NodePtr node, co_await driver::open_node(
                                 context.graph, {{"driver", "file"}, {"filename", path}}, false));
  block::Backend user(context.graph, "",
                      {block::kWrite | block::kResize, block::kAllPermissions & ~block::kResize});
  CO_TRY_OK(user.insert(node));
  CO_TRY_OK(co_await node->storage()->truncate(0));
  if (preallocation_of(options) == qcow2::Preallocation::metadata)
    co_return generic("Unsupported preallocation mode: metadata");
  std::uint64_t size = options["size"].get<std::uint64_t>();
  // The first block is written, so that its alignment can be found out.
  if (preallocation_of(options) == qcow2::Preallocation::off && size > 0)
    size = std::max<std::uint64_t>(size, 512);
  const Result<> done =
      size > INT64_MAX ? os_error(EINVAL) : co_await node->storage()->truncate(size);
  if (!done) co_return os_error(done.error().number, "Could not resize file");
  co_return ok();
}

Task<Result<>> create_file(Context& context, Json options) {
  const std::string path = options["filename"].get<std::string>();
  if (options.value("extent-size-hint", std::uint64_t{0}) > UINT32_MAX)
    co_return generic("Extent size hint is too large");
  if (!context.graph.files().exists(path)) {
    if (auto created = context.graph.files().create(path); !created)
      co_return os_error(created.error().number, fmt::format("Could not create '{}'", path));
  }
  co_await context.world.scheduler.yield();
  Result<> done = co_await write_file(context, path, std::move(options));
  context.graph.collect_soon();
  co_return done;
}

// --- qcow2 ---------------------------------------------------------------------------------------

Result<qcow2::EncryptOptions> read_encryption(Context& context, const Json& given) {
  using Format = qcow2::EncryptOptions::Format;
  qcow2::EncryptOptions options;
  options.format = given["format"] == "luks" ? Format::luks : Format::aes;
  if (!given.contains("key-secret"))
    return generic("Parameter 'encrypt.key-secret' is required for cipher");
  const std::string id = given["key-secret"].get<std::string>();
  const auto secret = context.graph.secrets.find(id);
  if (secret == context.graph.secrets.end())
    return generic(fmt::format("No secret with id '{}'", id));
  options.passphrase = secret->second;
  for (const auto& [name, into] :
       {std::pair{"cipher-alg", &options.cipher_alg},
        std::pair{"cipher-mode", &options.cipher_mode}, std::pair{"ivgen-alg", &options.ivgen_alg},
        std::pair{"ivgen-hash-alg", &options.ivgen_hash_alg},
        std::pair{"hash-alg", &options.hash_alg}})
    *into = given.value(name, "");
  options.random = [&context](MutableBytes into) {
    for (std::byte& byte : into) byte = static_cast<std::byte>(context.world.rng.below(256));
  };
  return options;
}

// In QEMU's order, as far as it is not qcow2::create() that refuses.
Result<qcow2::CreateOptions> read_qcow2(const Json& options) {
  qcow2::CreateOptions wanted{.keeps_file = true};
  wanted.size = options["size"].get<std::uint64_t>();
  if (wanted.size % 512 != 0) return generic("Image size must be a multiple of 512 bytes");
  wanted.version = options.value("version", "v3") == "v2" ? 2 : 3;
  wanted.extended_l2 = options.value("extended-l2", false);
  const std::uint64_t cluster = options.value("cluster-size", std::uint64_t{65536});
  wanted.cluster_bits =
      is_power_of_two(cluster) ? static_cast<std::uint32_t>(std::countr_zero(cluster)) : 0;
  wanted.preallocation = preallocation_of(options);
  wanted.backing_file = options.value("backing-file", "");
  // An empty name counts as one, and so does the format of no file.
  if (options.value("backing-file", "none") != "")
    wanted.backing_format = options.value("backing-fmt", "");
  wanted.lazy_refcounts = options.value("lazy-refcounts", false);
  const auto bits = options.value("refcount-bits", std::int64_t{16});
  wanted.refcount_order =
      bits > 0 && bits <= 64 && is_power_of_two(static_cast<std::uint64_t>(bits))
          ? static_cast<std::uint32_t>(std::countr_zero(static_cast<std::uint64_t>(bits)))
          : UINT32_MAX;
  wanted.data_file_raw = options.value("data-file-raw", false);
  if (options.value("compression-type", "zlib") == "zstd")
    wanted.compression = qcow2::Compression::zstd;
  return wanted;
}

// By name, or as what is described.
Task<Result<NodePtr>> open_reference(Context& context, Json reference) {
  if (reference.is_string()) {
    CO_TRY(const NodePtr node, node_or_device(context, reference.get<std::string>()));
    co_return node;
  }
  co_return co_await driver::open_node(context.graph, std::move(reference), false);
}

Task<Result<>> create_qcow2(Context& context, Json options) {
  CO_TRY(const NodePtr file, co_await open_reference(context, options["file"]));
  block::Backend user(context.graph, "", {block::kWrite | block::kResize});
  CO_TRY_OK(user.insert(file));
  CO_TRY(qcow2::CreateOptions wanted, read_qcow2(options));
  NodePtr data;
  if (options.contains("data-file")) {
    CO_TRY(data, co_await open_reference(context, options["data-file"]));
    wanted.data_file = data->filename();
  }
  CO_TRY_OK(qcow2::check_create_options(wanted));
  // Encryption comes last.
  Result<qcow2::EncryptOptions> encrypt = qcow2::EncryptOptions{};
  if (options.contains("encrypt")) encrypt = read_encryption(context, options["encrypt"]);
  if (encrypt) wanted.encrypt = *encrypt;
  co_await context.world.scheduler.yield();
  Result<> done = co_await qcow2::create(driver::storage_of(file), std::move(wanted),
                                         data ? driver::storage_of(data) : nullptr);
  if (done && !encrypt) co_return std::move(encrypt).error();
  if (done && encrypt->format == qcow2::EncryptOptions::Format::aes)
    co_return generic(
        "Use of AES-CBC encrypted qcow2 images is no longer supported in system emulators");
  co_return done;
}

Task<Result<>> create_qcow2_and_close(Context& context, Json options) {
  Result<> done = co_await create_qcow2(context, std::move(options));
  context.graph.collect_soon();
  co_return done;
}

// --- the command ---------------------------------------------------------------------------------

Result<> check_driver(const std::string& driver) {
  if (driver == "file" || driver == "qcow2") return ok();
  if (is_listed(kModules, driver))
    return generic(fmt::format("Block driver '{}' not found or not supported", driver));
  return generic(is_listed(kOtherCreators, driver)
                     ? fmt::format("understudy: driver '{}' is not in this version", driver)
                     : "Driver does not support blockdev-create");
}

Task<Result<Json>> blockdev_create(Context& context, Json arguments) {
  const Json& options = arguments["options"];
  const std::string driver = options["driver"].get<std::string>();
  CO_TRY_OK(check_driver(driver));
  const std::string id = arguments["job-id"].get<std::string>();
  CO_TRY_OK(context.jobs.check_new_id(id));
  context.jobs.start(std::make_shared<job::Create>(
      context.world, id,
      [&context, is_file = driver == "file", options = Json(options)]() -> Task<Result<>> {
        return is_file ? create_file(context, options) : create_qcow2_and_close(context, options);
      }));
  co_return Json::object();
}

Task<Result<Json>> x_blockdev_amend(Context& context, Json arguments) {
  CO_TRY(const NodePtr node,
         context.graph.find_device_or_node("", arguments["node-name"].get<std::string>()));
  const Json& options = arguments["options"];
  if (options["driver"] != node->driver())
    co_return generic("x-blockdev-amend doesn't support changing the block driver");
  if (node->driver() != "qcow2") co_return generic("Driver does not support x-blockdev-amend");
  const std::string id = arguments["job-id"].get<std::string>();
  CO_TRY_OK(context.jobs.check_new_id(id));
  const bool force = arguments.value("force", false);
  const auto work = [node, force, options = Json(options)] {
    return driver::amend_qcow2(node, options, force);
  };
  context.jobs.start(std::make_shared<job::Create>(context.world, id, work, "amend"));
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"blockdev-create", blockdev_create},
    Command{"x-blockdev-amend", x_blockdev_amend},
};

}  // namespace

std::span<const Command> create_commands() { return kCommands; }

}  // namespace sim::command
