// A domain's XML: what we give libvirt, and what its live XML says.

#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "conformance/target/domain_api.h"

namespace real_libvirt {

struct DomainXml {
  std::string name;
  std::string emulator;  // absolute path
  std::string console;   // where the emulator shall print, for the wrapper (embedded_root.h)
  std::vector<conformance::DiskDefinition> disks;
};

// A PC of the smallest kind with one virtio disk for each definition.  With ACPI: without it
// libvirt 9.0 gives an option that QEMU has no more since 9.0.  Libvirt is told not to ask for the
// CPU's properties, which are 400 commands at each start.
std::string to_xml(const DomainXml& domain);

struct LiveDisk {
  std::string alias;  // "virtio-disk0"
  conformance::Chain chain;
  std::optional<conformance::MirrorState> mirror;
};

// What a live XML says of the disk with this target name.  The error is a sentence.
std::expected<LiveDisk, std::string> read_disk(const std::string& xml, const std::string& disk);

}  // namespace real_libvirt
