// The document that a snapshotCreateXML hands to libvirt.

#pragma once

#include <string>

#include "conformance/scenario/scenario.h"

namespace conformance {

// A <domainsnapshot> in libvirt's layout, or the one that the scenario has.
std::string to_xml(const std::string& name, const SnapshotDocument& document);

}  // namespace conformance
