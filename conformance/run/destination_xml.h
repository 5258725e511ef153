// A scenario's destination of a blockCopy as the <disk> document that libvirt takes.

#pragma once

#include <string>

#include "conformance/scenario/scenario.h"

namespace conformance {

std::string to_xml(const CopyDestination& destination);

}  // namespace conformance
