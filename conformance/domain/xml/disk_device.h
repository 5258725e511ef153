// A <disk>: the guest's device, and the source it has now.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conformance/domain/xml/element.h"
#include "conformance/domain/xml/storage_source.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

// <iotune>: limits by their names in XML ("total_bytes_sec"), without those that are 0.
struct IoTune {
  std::map<std::string, std::uint64_t, std::less<>> limits;
  std::string group_name;
  bool empty() const { return limits.empty() && group_name.empty(); }
  friend bool operator==(const IoTune&, const IoTune&) = default;
};

// <mirror>: a copy or an active commit in progress.
struct Mirror {
  std::string job;    // "copy", "active-commit"; "" in the short while before libvirt knows
  std::string ready;  // "", "yes", "abort", "pivot"
  StorageSource source;
  friend bool operator==(const Mirror&, const Mirror&) = default;
};

// What is the device's, and stays when its source is replaced.  Attributes that are not given are
// empty.  The words are libvirt's (names.h).
struct DiskDevice {
  std::string target;                             // <target dev>: "vda"
  std::string bus;                                // <target bus>
  std::string device = "disk";                    // "disk", "cdrom", "floppy", "lun"
  std::string driver;                             // <driver name>: "qemu"
  std::string cache, io, discard, detect_zeroes;  // of <driver>
  std::string snapshot;                           // "no", "internal", "external", "manual"
  std::string startup_policy;  // libvirt keeps it with the disk, though it is in <source>
  std::string serial;
  std::string alias;  // "virtio-disk0", or the user's, which begins with "ua-"
  bool read_only = false;
  bool shareable = false;
  bool transient = false;
  IoTune iotune;

  StorageSource source;
  std::optional<Mirror> mirror;

  // Old documents have these directly in <disk>; libvirt leaves them where they were.
  bool auth_in_disk = false;
  bool encryption_in_disk = false;

  // What this room has no meaning for.
  std::vector<Attribute> other_attributes;      // of <disk>
  std::vector<Attribute> driver_attributes;     // of <driver>; its children go with the source
  std::vector<Attribute> target_attributes;     // of <target>
  std::vector<Attribute> transient_attributes;  // of <transient>
  std::vector<Attribute> alias_attributes;      // of <alias>
  std::vector<Kept> others;                     // in <disk>

  friend bool operator==(const DiskDevice&, const DiskDevice&) = default;
};

// Reads a <disk> as libvirt 9.0 does, with the defaults that its parser sets: device, bus by the
// target's name, read-only cdroms, ports.  From inactive documents it ignores index, mirror,
// labelskip, and aliases that are not the user's.  Parts are moved out of `element`.
//
// Errors, all libvirt's: unknown words are XML/XML_ERROR or, of formats, DOMAIN/CONFIG_UNSUPPORTED;
// NO_TARGET without a target; NO_SOURCE of a disk or lun without source; XML_ERROR and
// INTERNAL_ERROR of names and buses that do not fit; XML_ERROR of <iotune>, <mirror> and chains.
// Where several apply, libvirt may name another one first.
DomainResult<DiskDevice> parse_disk(Element& element, Form form);

// The same as libvirt 9.0 writes it, in its order.
Element format_disk(const DiskDevice& disk, Form form);

}  // namespace conformance::xml
