// A <domain> document: its disks as values, everything else as it was.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "conformance/domain/xml/disk_device.h"
#include "conformance/domain/xml/element.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

inline constexpr std::size_t kMaxDisks =
    8192;  // ours; so many values may be larger than their text

struct DomainXml {
  std::vector<DiskDevice> disks;  // in the order of the document
  // The whole document.  An empty <disk> in <devices> marks the place of each disk: the first one
  // is of disks[0], and so on.  Further disks are written behind the last place, and places that
  // are left over are not written.
  Element rest;
  friend bool operator==(const DomainXml&, const DomainXml&) = default;
};

// Reads a document.  `form` says whose it is: of a running domain (what dumpxml shows of one), or a
// definition, of which libvirt ignores what only a running domain has.
//
// Only disks are looked at: a domain without name or type is no error here.  Errors: those of
// read_document, those of parse_disk, XML_ERROR of two disks with one target, and UNDERSTUDY/LIMIT
// of more than kMaxDisks.
DomainResult<DomainXml> parse_domain(const std::string& text, Form form = Form::live);
// The same of an element, as snapshots keep them (<domain>, <inactiveDomain>).
DomainResult<DomainXml> parse_domain(Element domain, Form form);

// The document as libvirt 9.0 writes it: of a definition without index, alias, mirror and backing
// that was detected.  What is not of disks is written as it was read, in both forms.
std::string format_domain(const DomainXml& domain, Form form);
Element format_domain_element(const DomainXml& domain, Form form);

}  // namespace conformance::xml
