// A <volume> document of a storage pool: its image and what lies beneath, in a disk's terms.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "conformance/domain/xml/element.h"
#include "conformance/domain/xml/storage_source.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

struct VolumeXml {
  std::string type;  // "file", "block", "dir", "network", "netdir", "ploop" or not given
  std::string name;
  std::uint64_t capacity = 0;               // bytes
  std::optional<std::uint64_t> allocation;  // bytes; libvirt takes the capacity if none is given
  // <target>'s path, format and encryption; its backing is <backingStore>'s path and format, one
  // layer, for a volume says no more.  Other parts of <target> and of <backingStore> (permissions,
  // features, …) are their sources' `layer_others`.
  StorageSource source;
  std::vector<Attribute> other_attributes;
  std::vector<Kept> others;  // <key>, <physical>, <source>, …
  friend bool operator==(const VolumeXml&, const VolumeXml&) = default;
};

// Reads a document as virStorageVolDefParse does for a directory pool: a format that is not given
// is raw, of the backing image too, and a <backingStore> without path is none (terminated).
//
// Errors: those of read_document; XML_ERROR without name or capacity, or of a number;
// CONFIG_UNSUPPORTED of an unknown type or format; NONE/INVALID_ARG of an unknown unit,
// NONE/OVERFLOW of a size beyond 64 bits.
DomainResult<VolumeXml> parse_volume(const std::string& text);

// The document in libvirt's order, sizes in bytes.  A terminated backing is not written: libvirt
// has no words for it here.  Neither are index, labels and authentication.
std::string format_volume(const VolumeXml& volume);

}  // namespace conformance::xml
