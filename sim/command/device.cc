// device_add, device_del.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sim/base/text.h"
#include "sim/command/context.h"
#include "sim/driver/open.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// A model of a device, with the properties that change nothing that can be seen here and those that
// would, which are refused by name.  (What -device MODEL,help shows, 5.2 to 11.1.)
struct DeviceModel {
  std::string_view name;
  device::Model model;
  std::string_view bus;  // what it sits on
  std::string_view accepted;
  std::string_view refused;
};
constexpr std::string_view kPci =
    "acpi-index|addr|aer|ats|busnr|multifunction|rombar|romfile|romsize|vectors|ioeventfd|"
    "event_idx|indirect_desc|packed|iommu_platform|disable-legacy|disable-modern|any_layout|"
    "notify_on_empty|use-started|use-disabled-flag|page-per-vq|modern-pio-notify|migrate-extra|"
    "queue_reset|failover_pair_id|in_order";
constexpr std::string_view kDisk =
    "drive|bootindex|serial|share-rw|rerror|werror|write-cache|account-failed|account-invalid";
constexpr std::string_view kDiskRefused =
    "backend_defaults|discard_granularity|logical_block_size|physical_block_size|min_io_size|"
    "opt_io_size|stats-intervals";
constexpr std::array kModels = {
    DeviceModel{"scsi-cd", device::Model::scsi_cd, "SCSI",
                "device_id|vendor|product|ver|wwn|port_wwn|port_index|scsi_version",
                "max_io_size|migrate-emulated-scsi-request|quirk_mode_page_apple_vendor|"
                "quirk_mode_page_set_block_size|quirk_mode_page_truncated|"
                "quirk_mode_page_vendor_specific_apple|quirk_mode_sense_rom_use_dbd"},
    DeviceModel{
        "scsi-hd", device::Model::scsi_hd, "SCSI",
        "device_id|vendor|product|ver|wwn|port_wwn|port_index|scsi_version|removable|dpofua|"
        "rotation_rate",
        "cyls|heads|lcyls|lheads|lsecs|max_io_size|max_unmap_size|"
        "migrate-emulated-scsi-request|quirk_mode_page_set_block_size|"
        "quirk_mode_page_vendor_specific_apple|secs"},
    DeviceModel{
        "virtio-blk-pci", device::Model::virtio_blk, "PCI",
        "iothread|num-queues|queue-size|request-merging|seg-max-adjust|discard|write-zeroes|"
        "config-wce",
        "class|cyls|heads|iothread-vq-mapping|lcyls|lheads|lsecs|"
        "max-discard-sectors|max-write-zeroes-sectors|report-discard-granularity|scsi|secs|"
        "sriov-pf"},
    DeviceModel{"virtio-scsi-pci", device::Model::virtio_scsi, "PCI",
                "cmd_per_lun|hotplug|iothread|max_sectors|num_queues|param_change|seg_max_adjust|"
                "virtqueue_size",
                "iothread-vq-mapping|sriov-pf"},
};

// Models that QEMU has and this version has not; a name that is in no list is nobody's.
constexpr std::string_view kOtherModels =
    "ide-cd|ide-hd|lsi53c895a|nvme|pc-testdev|scsi-block|scsi-generic|usb-storage|"
    "virtio-blk-device|virtio-net-pci|virtio-scsi-device|virtio-serial-pci";

// A type that device_add reads as a command line would.  Objects and lists are no properties.
std::optional<std::string> as_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "on" : "off";
  if (value.is_number()) return value.dump();
  return std::nullopt;
}

Result<const DeviceModel*> find_model(std::string name) {
  if (name == "virtio-blk" || name == "virtio-scsi") name += "-pci";
  const auto model = std::ranges::find(kModels, name, &DeviceModel::name);
  if (model != kModels.end()) return &*model;
  if (is_listed(kOtherModels, name))
    return generic(fmt::format("understudy: device model '{}' is not in this version", name));
  return generic(fmt::format("'{}' is not a valid device model name", name));
}

// "SLOT" or "SLOT.FUNCTION" in hexadecimal digits, with or without 0x.
bool is_pci_address(std::string_view text) {
  const auto take = [&](unsigned most) {
    if (text.starts_with("0x")) text.remove_prefix(2);
    unsigned value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return status == std::errc{} && value <= most;
  };
  if (!take(31)) return false;
  if (!text.starts_with('.')) return text.empty();
  text.remove_prefix(1);
  return take(7) && text.empty();
}

// The arguments of one device_add: as text or as JSON, as the release reads them.
class Properties {
 public:
  Properties(const Context& context, const Json& arguments)
      : profile_(context.profile),
        arguments_(arguments),
        typed_(context.profile.device_properties_are_typed && !context.properties_are_text) {}

  bool has(const char* name) const {
    return arguments_.contains(name) && (typed_ || as_text(arguments_[name]));
  }

  bool has_text(const char* name) const {
    return arguments_.contains(name) && arguments_[name].is_string();
  }

  // "driver", "id", "bus": what is no text is not there, but for a number or so as text.
  bool has_option(const char* name) const {
    if (!arguments_.contains(name)) return false;
    return typed_ ? arguments_[name].is_string() : as_text(arguments_[name]).has_value();
  }
  std::string option(const char* name) const {
    if (!arguments_.contains(name)) return {};
    if (typed_ || std::string_view(name) == "id")
      return arguments_[name].is_string() ? arguments_[name].get<std::string>() : std::string();
    return as_text(arguments_[name]).value_or("");
  }

  Result<std::string> text(const char* name) const {
    if (!has(name)) return std::string();
    if (typed_ && !arguments_[name].is_string())
      return generic(fmt::format("Invalid parameter type for '{}', expected: string", name));
    return *as_text(arguments_[name]);
  }

  Result<bool> boolean(const char* name) const {
    if (!has(name)) return false;
    const Json& value = arguments_[name];
    if (typed_ && !value.is_boolean())
      return generic(fmt::format("Invalid parameter type for '{}', expected: boolean", name));
    const std::string word = *as_text(value);
    if (word == "on" || word == "yes" || word == "true" || word == "y") return true;
    if (word == "off" || word == "no" || word == "false" || word == "n") return false;
    return generic(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
  }

  Result<std::optional<std::int64_t>> integer(const char* name) const {
    if (!has(name)) return std::optional<std::int64_t>();
    const std::string text = as_text(arguments_[name]).value_or("");
    std::int64_t number = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (status != std::errc{} || end != text.data() + text.size())
      return generic(fmt::format("Parameter '{}' expects {}", name,
                                 profile_.device_integers_are_signed ? "integer" : "uint64"));
    return std::optional<std::int64_t>(number);
  }

  // The one number that is signed; text is none where properties are typed (measured, 5.2 to 11.1).
  Result<std::optional<std::int64_t>> bootindex() const {
    constexpr const char* kName = "bootindex";
    if (typed_ && has(kName) && arguments_[kName].is_string())
      return generic("Invalid parameter type for 'bootindex', expected: integer");
    auto number = integer(kName);
    if (!number && !profile_.device_integers_are_signed)
      return generic("Parameter 'bootindex' expects int64");
    return number;
  }

  template <class T, std::size_t n>
  Result<T> one_of(const char* name, const std::array<std::string_view, n>& names,
                   T otherwise) const {
    if (!has(name)) return otherwise;
    TRY(const std::string value, text(name));
    const auto found = std::ranges::find(names, value);
    if (found == names.end())
      return generic(profile_.bad_value_names_parameter
                         ? fmt::format("Parameter '{}' does not accept value '{}'", name, value)
                         : fmt::format("Invalid parameter '{}'", value));
    return static_cast<T>(found - names.begin());
  }

  Result<> check_names(const DeviceModel& model) const {
    const bool pci = model.bus == "PCI", disk = model.model != device::Model::virtio_scsi;
    for (const auto& [name, value] : arguments_.items()) {
      if (name == "driver" || name == "id" || name == "bus") continue;
      const bool counts = name == "account-failed" || name == "account-invalid";
      if (counts && !profile_.devices_count_failures)
        return generic(fmt::format("Property '{}.{}' not found", model.name, name));
      const bool accepted = is_listed(model.accepted, name) || (pci && is_listed(kPci, name)) ||
                            (disk && is_listed(kDisk, name)) ||
                            (!pci && is_listed("scsi-id|lun|channel", name));
      if (accepted) continue;
      const bool known = is_listed(model.refused, name) || (disk && is_listed(kDiskRefused, name));
      return generic(known ? fmt::format("understudy: property '{}' of '{}' is not in this version",
                                         name, model.name)
                           : fmt::format("Property '{}.{}' not found", model.name, name));
    }
    if (!pci || !arguments_.contains("addr")) return ok();
    const std::string address = as_text(arguments_["addr"]).value_or("");
    if (is_pci_address(address)) return ok();
    return generic(fmt::format("Property '{}.addr' doesn't take value '{}'", model.name, address));
  }

 private:
  const qmp::Profile& profile_;
  const Json& arguments_;
  bool typed_;
};

// One device_add, step by step as QEMU goes.
class Plugging {
 public:
  Plugging(Context& context, const Json& arguments)
      : context_(context), properties_(context, arguments), id_(properties_.option("id")) {}

  // The node that a disk was plugged to, or was refused; null if it came to none.
  block::NodePtr node() const { return node_; }

  Result<> run() {
    TRY_OK(check_id());
    if (context_.profile.device_ids_are_first) TRY_OK(check_id_is_free());
    if (!properties_.has_option("driver")) return generic("Parameter 'driver' is missing");
    TRY(model_, find_model(properties_.option("driver")));
    TRY_OK(find_bus());
    if (!context_.profile.device_ids_are_first) TRY_OK(check_id_is_free());
    number_ = id_.empty() ? context_.anonymous_devices++ : 0;
    TRY_OK(properties_.check_names(*model_));
    if (model_->bus == "PCI") {
      TRY(iothread_, properties_.text("iothread"));
      TRY_OK(check_iothread(context_, iothread_));
    }
    if (model_->model == device::Model::virtio_scsi) {
      plug_controller();
      return ok();
    }
    return plug_disk();
  }

 private:
  // One that is no string is as good as none.
  Result<> check_id() const {
    if (!properties_.has_text("id") || is_well_formed_id(id_)) return ok();
    if (context_.profile.bad_device_id_is_quoted)
      return generic(fmt::format("Invalid qdev ID '{}'", id_));
    if (context_.profile.device_properties_are_typed && !context_.properties_are_text) return ok();
    return generic("Parameter 'id' expects an identifier");
  }

  Result<> check_id_is_free() const {
    const auto is_it = [&](const auto& device) { return !id_.empty() && device->id == id_; };
    const bool taken = std::ranges::any_of(context_.controllers, is_it) ||
                       std::ranges::any_of(context_.devices, [&](const auto& disk) {
                         return !id_.empty() && disk->id() == id_;
                       });
    if (!taken) return ok();
    return generic(context_.profile.device_ids_are_first
                       ? fmt::format("Duplicate ID '{}' for device", id_)
                       : fmt::format("Duplicate device ID '{}'", id_));
  }

  Result<> find_bus() {
    const bool wants_scsi = model_->bus == "SCSI";
    const std::string name = properties_.option("bus");
    if (name.empty()) {
      if (!wants_scsi) return ok();
      if (context_.controllers.empty())
        return generic(fmt::format("No 'SCSI' bus found for device '{}'", model_->name));
      controller_ = context_.controllers.front().get();
      return ok();
    }
    const auto found = std::ranges::find_if(
        context_.controllers, [&](const auto& controller) { return controller->bus == name; });
    const bool is_scsi = found != context_.controllers.end();
    if (!is_scsi && name != "pci.0") return generic(fmt::format("Bus '{}' not found", name));
    if (is_scsi != wants_scsi)
      return generic(
          fmt::format("Device '{}' can't go on {} bus", model_->name, is_scsi ? "SCSI" : "PCI"));
    if (is_scsi) controller_ = found->get();
    return ok();
  }

  void plug_controller() {
    auto controller = std::make_unique<device::ScsiController>();
    controller->id = id_;
    controller->iothread = iothread_;
    controller->path = device::Disk::path_of(id_, number_);
    controller->bus = id_.empty() ? fmt::format("scsi.{}", context_.anonymous_buses++) : id_ + ".0";
    context_.controllers.push_back(std::move(controller));
  }

  // Where a SCSI disk goes: as told, or the first free target.
  Result<device::ScsiAddress> find_address() const {
    TRY(const auto channel, properties_.integer("channel"));
    TRY(const auto target, properties_.integer("scsi-id"));
    TRY(const auto lun, properties_.integer("lun"));
    if (channel.value_or(0) != 0) return generic(fmt::format("bad scsi channel id: {}", *channel));
    const auto last = device::kLastScsiAddress;
    if (target && *target != -1 && static_cast<std::uint64_t>(*target) > last.target)
      return generic(fmt::format("bad scsi device id: {}", *target));
    if (lun && *lun != -1 && static_cast<std::uint64_t>(*lun) > last.lun)
      return generic(fmt::format("bad scsi device lun: {}", *lun));
    const auto user = [&](device::ScsiAddress address) -> const device::Disk* {
      for (const auto& disk : context_.devices)
        if (disk->controller == controller_ && disk->address == address) return disk.get();
      return nullptr;
    };
    device::ScsiAddress address{.target = target ? static_cast<std::uint64_t>(*target) : 0,
                                .lun = lun ? static_cast<std::uint64_t>(*lun) : 0};
    if (target && lun) {
      const device::Disk* other = user(address);
      if (other != nullptr) return generic(fmt::format("lun already used by '{}'", other->id()));
    } else if (target) {
      while (user(address) != nullptr) ++address.lun;
    } else {
      while (user(address) != nullptr) ++address.target;
    }
    return address;
  }

  Result<> check_is_free(const std::string& drive, const block::Backend* named) const {
    if (named == nullptr || named->device == nullptr) return ok();
    return generic(context_.connected_drives.contains(drive)
                       ? fmt::format("Drive '{}' is already in use because it has been "
                                     "automatically connected to another device (did you need "
                                     "'if=none' in the drive options?)",
                                     drive)
                       : fmt::format("Drive '{}' is already in use by another device", drive));
  }

  Result<> plug_disk() {
    // In the order in which QEMU sets them: that of its dictionary (measured, 5.2 to 11.1).
    TRY(const auto bootindex, properties_.bootindex());
    TRY(const bool removable, properties_.boolean("removable"));
    TRY(const auto counts_invalid, properties_.one_of("account-invalid", kOnOffAuto, kAuto));
    TRY(const auto on_read, properties_.one_of("rerror", block::kOnErrorNames, kAutomatic));
    TRY(const auto on_write, properties_.one_of("werror", block::kOnErrorNames, kAutomatic));
    TRY(const auto counts_failed, properties_.one_of("account-failed", kOnOffAuto, kAuto));
    TRY(const std::string drive, properties_.text("drive"));
    block::Backend* const named = context_.graph.find_backend(drive);
    TRY_OK(check_is_free(drive, named));
    const block::NodePtr node = named != nullptr ? named->node() : context_.graph.find(drive);
    if (!node && named == nullptr && !drive.empty())
      return generic(fmt::format(
          "Property '{}.drive' can't find value '{}'",
          model_->model == device::Model::virtio_blk ? "virtio-blk-device" : model_->name, drive));
    TRY(const bool share_rw, properties_.boolean("share-rw"));
    for (const auto& other : context_.devices)
      if (bootindex && *bootindex >= 0 && other->bootindex == bootindex)
        return generic(fmt::format("The bootindex {} has already been used", *bootindex));
    const bool is_cd = model_->model == device::Model::scsi_cd;
    if (drive.empty() && !is_cd) return generic("drive property not set");
    if (node) look_at(context_, *node, "device_add");
    if (!node && named != nullptr && !is_cd)
      return generic("Device needs media, but drive is empty");
    const bool read_only = is_cd || (node && node->read_only);
    const block::Permission permission = device::Disk::permission(read_only, share_rw, !is_cd);
    std::unique_ptr<device::Disk> disk;
    if (named != nullptr) {
      if (node) TRY_OK(named->set_permission(permission));
      disk = std::make_unique<device::Disk>(model_->model, id_, number_, *named);
    } else {
      auto backend = std::make_unique<block::Backend>(context_.graph, "", permission);
      const bool counts = context_.profile.devices_count_failures;
      backend->accounting.counts_failed = backend->accounting.counts_invalid = counts;
      backend->medium_is_read_only = is_cd && context_.profile.empty_drive_is_read_only;
      disk = std::make_unique<device::Disk>(model_->model, id_, number_, std::move(backend));
    }
    block::Backend& backend = disk->backend();
    if (on_read != kAutomatic) backend.on_read_error = on_read;
    if (on_write != kAutomatic) backend.on_write_error = on_write;
    if (counts_failed != kAuto) backend.accounting.counts_failed = counts_failed == kOn;
    if (counts_invalid != kAuto) backend.accounting.counts_invalid = counts_invalid == kOn;
    disk->removable = removable;
    disk->leaves_backend = is_cd && drive.empty();
    disk->controller = controller_;
    disk->bootindex = bootindex;
    if (controller_ != nullptr) {
      TRY(disk->address, find_address());
    }
    node_ = node;
    if (node) TRY_OK(move_to_device(context_, *node, controller_));
    if (node && named == nullptr) TRY_OK(backend.insert(node));
    context_.devices.push_back(std::move(disk));
    return ok();
  }

  static constexpr auto kAutomatic = block::OnError::automatic;
  // QAPI: OnOffAuto.
  enum OnOffAuto : std::uint8_t { kAuto, kOn, kOff };
  static constexpr std::array<std::string_view, 3> kOnOffAuto = {"auto", "on", "off"};

  Context& context_;
  Properties properties_;
  std::string id_, iothread_;
  const DeviceModel* model_ = nullptr;
  block::NodePtr node_;
  device::ScsiController* controller_ = nullptr;
  unsigned number_ = 0;
};

// QEMU looks for a partition table; what is read is of no use here, that it is read can be seen.
Task<void> guess_geometry(const device::Disk& disk) {
  if (disk.model() == device::Model::scsi_cd) co_return;
  std::array<std::byte, 512> sector{};
  (void)co_await disk.backend().read(0, sector);
}

Task<Result<Json>> device_add(Context& context, Json arguments) {
  Plugging plugging(context, arguments);
  const Result<> plugged = plugging.run();
  const block::NodePtr node = plugging.node();
  if (node && (plugged || context.profile.refused_device_drains)) co_await drain(context, node);
  CO_TRY_OK(plugged);
  if (node) co_await guess_geometry(*context.devices.back());
  co_return Json::object();
}

Error in_unplug(const std::string& id) {
  return generic(fmt::format("Device {} is already in the process of unplug", id));
}

// A disk on PCI, and an adapter, the paused guest lets go at the next reset; a SCSI disk goes at
// once.
Task<Result<Json>> device_del(Context& context, Json arguments) {
  const std::string id = arguments["id"].get<std::string>();
  const auto is_meant = [&](const std::string& path, const std::string& its_id) {
    return id.starts_with('/') ? id == path : !id.empty() && id == its_id;
  };
  const auto controller = std::ranges::find_if(
      context.controllers, [&](const auto& it) { return is_meant(it->path, it->id); });
  if (controller != context.controllers.end()) {
    if ((*controller)->unplug_requested) co_return in_unplug(id);
    (*controller)->unplug_requested = true;
    co_return Json::object();
  }
  const auto found = std::ranges::find_if(context.devices, [&](const auto& device) {
    return is_meant(device->device_path(), device->id());
  });
  if (found == context.devices.end()) co_return no_device(context, id);
  if ((*found)->unplug_requested) co_return in_unplug(id);
  (*found)->unplug_requested = true;
  if ((*found)->controller == nullptr) co_return Json::object();
  co_await unplug(context, (*found).get());
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"device_add", device_add},
    Command{"device_del", device_del},
};

}  // namespace

Task<void> unplug(Context& context, const device::Disk* disk) {
  const auto found =
      std::ranges::find(context.devices, disk, [](const auto& it) { return it.get(); });
  std::unique_ptr<device::Disk> gone = std::move(*found);
  context.devices.erase(found);
  (void)co_await gone->backend().flush();
  if (gone->controller != nullptr && !gone->controller->iothread.empty() && gone->backend().node())
    gone->backend().node()->context.clear();
  if (gone->qom_path() != gone->device_path())
    context.events.emit("DEVICE_DELETED", {{"path", gone->qom_path()}});
  Json data = {{"path", gone->device_path()}};
  if (!gone->id().empty()) data["device"] = gone->id();
  context.events.emit("DEVICE_DELETED", std::move(data));
  const block::Backend* drive = &gone->backend();
  if (gone->leaves_backend) {
    std::unique_ptr<block::Backend> left = gone->release_backend();
    CHECK(left->set_permission({}), "less needs cannot be refused");
    context.drives.push_back(std::move(left));
    drive = nullptr;
  }
  gone.reset();
  std::erase_if(context.drives, [&](const auto& it) { return it.get() == drive; });
}

std::span<const Command> device_commands() { return kCommands; }

}  // namespace sim::command
