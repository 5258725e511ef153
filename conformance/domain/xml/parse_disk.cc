// <disk> as libvirt 9.0 reads it.

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <utility>

#include "conformance/domain/xml/disk_device.h"
#include "conformance/domain/xml/errors.h"
#include "conformance/domain/xml/iotune_names.h"
#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/number.h"

namespace conformance::xml {
namespace {

using namespace std::string_view_literals;

// Reads an enumerated attribute, if it is there.
DomainResult<void> read_word(const Element& element, std::string_view attribute, Names words,
                             std::string& into) {
  const std::string* value = element.attribute(attribute);
  if (value == nullptr) return {};
  if (!names::has(words, *value)) return errors::bad_value(attribute, element.name, *value);
  into = *value;
  return {};
}

DomainResult<void> parse_attributes(const Element& element, DiskDevice& disk) {
  static constexpr std::array kRead{"type"sv, "device"sv, "snapshot"sv};
  if (const std::string* type = element.attribute("type")) {
    const auto known = storage_type_of(*type);
    if (!known) return errors::bad_value("type", "disk", *type);
    disk.source.type = *known;
  }
  if (auto read = read_word(element, "device", names::kDevices, disk.device); !read) return read;
  if (auto read = read_word(element, "snapshot", names::kSnapshots, disk.snapshot); !read)
    return read;
  disk.other_attributes = other_attributes(element, kRead);
  return {};
}

DomainResult<void> parse_driver(Element& driver, DiskDevice& disk) {
  static constexpr std::array kRead{"name"sv, "type"sv,    "cache"sv,
                                    "io"sv,   "discard"sv, "detect_zeroes"sv};
  if (const std::string* name = driver.attribute("name")) disk.driver = *name;
  if (auto read = read_word(driver, "cache", names::kCaches, disk.cache); !read) return read;
  if (disk.cache == "default") disk.cache.clear();
  if (auto read = read_word(driver, "io", names::kIo, disk.io); !read) return read;
  if (auto read = read_word(driver, "discard", names::kDiscard, disk.discard); !read) return read;
  if (auto read = read_word(driver, "detect_zeroes", names::kDetectZeroes, disk.detect_zeroes);
      !read)
    return read;
  if (const std::string* type = driver.attribute("type")) {
    if (*type != "aio" && !names::has(names::kFormats, *type))
      return errors::unsupported("DOMAIN", "unknown driver format value '" + *type + "'");
    disk.source.format = *type == "aio" ? "raw" : *type;  // aio: Xen's old word
  }
  disk.driver_attributes = other_attributes(driver, kRead);
  disk.source.format_others = keep_others(driver, {}, {});
  return {};
}

DomainResult<void> parse_disk_source(Element& element, Form form, DiskDevice& disk) {
  if (auto read = read_word(element, "startupPolicy", names::kStartupPolicies, disk.startup_policy);
      !read)
    return read;
  const auto index = parse_index(element, form);
  if (!index) return std::unexpected(index.error());
  disk.source.index = *index;
  return parse_source(element, form, disk.source);
}

// <auth> and <encryption> where old documents have them.
DomainResult<void> parse_old_places(Element& element, DiskDevice& disk) {
  if (const Element* auth = element.child("auth")) {
    if (disk.source.auth)
      return errors::unsupported("DOMAIN", "an <auth> definition already found for disk source");
    auto read = parse_auth(*auth, disk.source);
    if (!read) return std::unexpected(read.error());
    disk.source.auth = std::move(*read);
    disk.auth_in_disk = true;
  }
  if (Element* encryption = element.child("encryption")) {
    if (disk.source.encryption)
      return errors::unsupported("DOMAIN",
                                 "an <encryption> definition already found for disk source");
    auto read = parse_encryption(*encryption, false);
    if (!read) return std::unexpected(read.error());
    disk.source.encryption = std::move(*read);
    disk.encryption_in_disk = true;
  }
  return {};
}

DomainResult<void> parse_iotune(const Element& element, IoTune& iotune) {
  for (const std::string_view name : kIoTuneLimits) {
    const Element* limit = element.child(name);
    if (limit == nullptr || limit->text().empty()) continue;
    const std::string text = limit->text();
    const auto value = std::isspace(static_cast<unsigned char>(text.back())) != 0
                           ? std::nullopt
                           : number<std::uint64_t>(text);
    if (!value)
      return errors::domain_xml(fmt::format("disk iotune field '{}' must be an integer", name));
    if (*value != 0) iotune.limits.emplace(name, *value);
  }
  if (const Element* group = element.child("group_name")) iotune.group_name = group->text();
  for (const std::string_view kind :
       {"bytes_sec"sv, "iops_sec"sv, "bytes_sec_max"sv, "iops_sec_max"sv}) {
    const auto limited = [&](std::string_view direction) {
      return iotune.limits.contains(fmt::format("{}_{}", direction, kind));
    };
    if (limited("total") && (limited("read") || limited("write")))
      return errors::domain_xml(
          fmt::format("total and read/write {} cannot be set at the same time", kind));
  }
  return {};
}

// <mirror>; before libvirt 1.2.6 its file and format were attributes, and a copy the only job.
DomainResult<Mirror> parse_mirror(Element& element, Form form) {
  Mirror mirror;
  if (const std::string* job = element.attribute("job")) {
    if (!job->empty() && !names::has(names::kMirrorJobs, *job))
      return errors::domain_xml("unknown mirror job type '" + *job + "'");
    mirror.job = *job;
  } else {
    mirror.job = "copy";
  }
  if (const std::string* type = element.attribute("type")) {
    Element* within = element.child("source");
    if (within == nullptr) return errors::domain_xml("mirror requires source element");
    const auto index = parse_index(*within, form);
    if (!index) return std::unexpected(index.error());
    auto source = parse_layer(element, form, *type);
    if (!source) return std::unexpected(source.error());
    mirror.source = std::move(*source);
    mirror.source.index = *index;
    if (auto read = parse_backing(element, form, mirror.source); !read)
      return std::unexpected(read.error());
    mirror.source.layer_others = keep_others(element, names::kLayerChildren, names::kLayerChildren);
  } else {
    if (mirror.job != "copy")
      return errors::domain_xml("mirror without type only supported by copy job");
    const std::string* file = element.attribute("file");
    if (file == nullptr) return errors::domain_xml("mirror requires file name");
    mirror.source.path = *file;
    if (const std::string* format = element.attribute("format")) {
      if (!names::has(names::kFormats, *format))
        return errors::domain_xml("unknown storage source format '" + *format + "'");
      mirror.source.format = *format;
    }
  }
  if (const std::string* ready = element.attribute("ready")) {
    if (!names::has(names::kMirrorReady, *ready))
      return errors::domain_xml("unknown mirror ready state " + *ready);
    mirror.ready = *ready;
  }
  return mirror;
}

// "vda", "hdb2": libvirt's prefixes, small letters, digits (virDiskNameParse).
bool is_disk_name(std::string_view name) {
  static constexpr std::array kPrefixes{"fd"sv, "hd"sv, "vd"sv, "sd"sv, "xvd"sv, "ubd"sv};
  for (const std::string_view prefix : kPrefixes) {
    if (!name.starts_with(prefix)) continue;
    name.remove_prefix(prefix.size());
    const std::size_t letters =
        std::min(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), name.size());
    return letters != 0 && name.find_first_not_of("0123456789", letters) == std::string_view::npos;
  }
  return false;
}

std::string bus_by_name(std::string_view target) {
  if (target.starts_with("hd")) return "ide";
  if (target.starts_with("sd")) return "scsi";
  if (target.starts_with("vd")) return "virtio";
  if (target.starts_with("xvd")) return "xen";
  return target.starts_with("ubd") ? "uml" : "ide";
}

DomainResult<void> parse_target(const Element* element, DiskDevice& disk) {
  static constexpr std::array kRead{"dev"sv, "bus"sv};
  const std::string* dev = element == nullptr ? nullptr : element->attribute("dev");
  if (element != nullptr) {
    if (auto read = read_word(*element, "bus", names::kBuses, disk.bus); !read) return read;
    disk.target_attributes = other_attributes(*element, kRead);
  }
  if (dev == nullptr) {
    const StorageSource& source = disk.source;
    return errors::no_target(source.pool.empty() ? source.shown_name()
                                                 : "pool = '" + source.pool + "', volume = '" +
                                                       source.volume + "'");
  }
  disk.target = *dev;
  if (disk.bus.empty()) disk.bus = disk.device == "floppy" ? "fdc" : bus_by_name(disk.target);
  return {};
}

DomainResult<void> check_names(const DiskDevice& disk, bool has_address) {
  if (!has_address && !is_disk_name(disk.target))
    return errors::domain_xml("Unknown disk name '" + disk.target + "' and no address specified");
  const auto internal = [](std::string message) -> DomainResult<void> {
    return errors::make("DOMAIN", "INTERNAL_ERROR", std::move(message));
  };
  if (disk.device == "floppy") {
    if (disk.bus != "fdc") return internal("Invalid bus type '" + disk.bus + "' for floppy disk");
    if (!disk.target.starts_with("fd"))
      return internal("Invalid floppy device name: " + disk.target);
    return {};
  }
  if (disk.device == "cdrom")
    return disk.bus == "fdc" ? internal("Invalid bus type 'fdc' for disk") : DomainResult<void>{};
  const bool hard = disk.target.starts_with("hd") || disk.target.starts_with("sd") ||
                    disk.target.starts_with("vd") || disk.target.starts_with("xvd") ||
                    disk.target.starts_with("ubd");
  if (disk.bus == "fdc") return internal("Invalid bus type 'fdc' for disk");
  if (!hard) return internal("Invalid harddisk device name: " + disk.target);
  return {};
}

DomainResult<void> check_policies(const DiskDevice& disk) {
  const StorageSource& source = disk.source;
  const bool removable = disk.device == "cdrom" || disk.device == "floppy";
  if (disk.device == "lun" && (source.type == StorageType::file || source.type == StorageType::dir))
    return errors::unsupported("DOMAIN",
                               "disk device='lun' is only valid for block type disk source");
  if (disk.device == "lun" && source.type == StorageType::network && source.protocol != "iscsi")
    return errors::unsupported(
        "DOMAIN", "disk device='lun' is not supported for protocol='" + source.protocol + "'");
  if (source.type == StorageType::vhostuser) {
    if (!disk.snapshot.empty() && disk.snapshot != "no")
      return errors::unsupported("DOMAIN", "only snapshot=no is supported with vhostuser disk");
    if (disk.bus != "virtio")
      return errors::unsupported("DOMAIN", "vhostuser disk supports only virtio bus");
  }
  if (disk.startup_policy.empty()) return {};
  if (source.type == StorageType::network)
    return errors::domain_xml("disk startupPolicy '" + disk.startup_policy +
                              "' is not allowed for disk of 'network' type");
  if (disk.startup_policy == "requisite" && !removable)
    return errors::domain_xml("disk startupPolicy 'requisite' is allowed only for cdrom or floppy");
  return {};
}

void parse_flags(const Element& element, Form form, DiskDevice& disk) {
  static constexpr std::array kAliasRead{"name"sv};
  disk.read_only = element.child("readonly") != nullptr || disk.device == "cdrom";
  disk.shareable = element.child("shareable") != nullptr;
  if (const Element* transient = element.child("transient")) {
    disk.transient = true;
    disk.transient_attributes = transient->attributes;
  }
  if (const Element* serial = element.child("serial")) disk.serial = serial->text();
  if (const Element* alias = element.child("alias")) {
    const std::string* name = alias->attribute("name");
    if (name != nullptr && (form == Form::live || name->starts_with("ua-"))) {
      disk.alias = *name;
      disk.alias_attributes = other_attributes(*alias, kAliasRead);
    }
  }
}

}  // namespace

DomainResult<DiskDevice> parse_disk(Element& element, Form form) {
  static constexpr std::array kRead{"driver"sv,    "auth"sv,      "source"sv, "backingStore"sv,
                                    "mirror"sv,    "target"sv,    "iotune"sv, "readonly"sv,
                                    "shareable"sv, "transient"sv, "serial"sv, "encryption"sv,
                                    "alias"sv};
  DiskDevice disk;
  const auto failed = [](const DomainResult<void>& read) { return std::unexpected(read.error()); };
  if (auto read = parse_attributes(element, disk); !read) return failed(read);
  if (Element* driver = element.child("driver"))
    if (auto read = parse_driver(*driver, disk); !read) return failed(read);
  if (Element* source = element.child("source")) {
    if (auto read = parse_disk_source(*source, form, disk); !read) return failed(read);
  } else if (disk.device == "cdrom" || disk.device == "floppy") {
    disk.source.type = StorageType::file;  // of an empty drive nothing else is known
  }
  if (auto read = parse_old_places(element, disk); !read) return failed(read);
  if (auto read = parse_backing(element, form, disk.source); !read) return failed(read);
  if (auto read = parse_target(element.child("target"), disk); !read) return failed(read);
  if (Element* mirror = element.child("mirror"); mirror != nullptr && form == Form::live) {
    auto read = parse_mirror(*mirror, form);
    if (!read) return std::unexpected(read.error());
    disk.mirror = std::move(*read);
  }
  if (const Element* iotune = element.child("iotune"))
    if (auto read = parse_iotune(*iotune, disk.iotune); !read) return failed(read);
  parse_flags(element, form, disk);
  if (auto read = check_names(disk, element.child("address") != nullptr); !read)
    return failed(read);
  if (disk.source.empty() && (disk.device == "disk" || disk.device == "lun"))
    return errors::no_source(disk.target);
  if (auto read = check_policies(disk); !read) return failed(read);
  if (disk.source.type == StorageType::vhostuser && disk.snapshot.empty()) disk.snapshot = "no";
  disk.others = keep_others(element, names::kDiskChildren, kRead);
  return disk;
}

}  // namespace conformance::xml
