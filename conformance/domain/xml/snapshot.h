// A <domainsnapshot> document.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conformance/domain/xml/element.h"
#include "conformance/domain/xml/storage_source.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

struct SnapshotDisk {
  std::string name;      // target or path
  std::string snapshot;  // "no", "internal", "external", "manual"; empty: not said
  // The new active layer of an external snapshot.  Nothing if neither type nor <driver> nor
  // <source> was given; without path, libvirt makes up its name.
  std::optional<StorageSource> source;
  std::vector<Attribute> other_attributes;   // of <disk>
  std::vector<Attribute> driver_attributes;  // of <driver>
  std::vector<Kept> others;
  friend bool operator==(const SnapshotDisk&, const SnapshotDisk&) = default;
};

struct SnapshotMemory {
  std::string snapshot;  // "no", "internal", "external"; empty: not said
  std::string file;
  std::vector<Attribute> other_attributes;
  friend bool operator==(const SnapshotMemory&, const SnapshotMemory&) = default;
};

struct SnapshotXml {
  std::string name;
  std::optional<std::string> description;
  std::string state;  // "running", "disk-snapshot", …; empty: not said
  std::string parent;
  std::optional<std::int64_t> creation_time;  // seconds since 1970
  std::optional<SnapshotMemory> memory;
  std::optional<std::vector<SnapshotDisk>> disks;  // nothing: no <disks>, that is all of them
  std::optional<Element> domain;                   // see parse_domain(Element, …)
  std::optional<Element> inactive_domain;
  std::optional<Element> cookie;
  std::vector<Attribute> other_attributes;
  std::vector<Kept> others;
  friend bool operator==(const SnapshotXml&, const SnapshotXml&) = default;
};

// What a document is for: a snapshot of everything; one of the disks alone, in which libvirt
// accepts no memory; or one that there is already.
enum class SnapshotUse : unsigned char { requested, disks_alone, redefined };

// Reads a document, of a request or of a snapshot that exists; a name is no duty, for libvirt makes
// one up.  A disk with a source or driver and no mode is external, as is memory with a file.
//
// Errors: those of read_document and parse_source; of state, memory and disks those of
// virDomainSnapshotDefParse and virDomainSnapshotDiskDefParseXML, and of
// virDomainSnapshotAlignDisks what needs no domain: a file with another mode than external, a disk
// named twice.  A creationTime that is no number is INTERNAL_ERROR, as where libvirt needs one: of
// a redefined snapshot it and the name are duties.
DomainResult<SnapshotXml> parse_domain_snapshot(const std::string& text,
                                                SnapshotUse use = SnapshotUse::requested);

// The document in libvirt's order.
std::string format_domain_snapshot(const SnapshotXml& snapshot);

}  // namespace conformance::xml
