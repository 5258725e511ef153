// Which image of a chain a name of the user means (libvirt: virStorageSourceChainLookup; the
// texts and which spellings are names: measured on libvirt 9.0,
// testdata/libvirt_9_0_job_errors.json).

#pragma once

#include <optional>
#include <string>

#include "conformance/domain/source.h"
#include "conformance/target/domain_error.h"

namespace conformance {

// An image of the chain from `top` down, by "TARGET[INDEX]" (an index of the live XML), by its
// path, by the relative name in the header above it, or by a name that leads to it from the
// directory of the image above.  Owned by the chain.
//
// `beneath`: only images below this one of the chain; null: all.  A name that nothing matches is
// an error that depends on it.
DomainResult<Source*> find_image(Source& top, const Source* beneath, const std::string& target,
                                 const std::string& name);

// The name of `base` as seen from the image above `from`, by the relative names in the headers
// between; nothing if one of them is absolute.  `base` is `from` or beneath it.
std::optional<std::string> relative_name(const Source& from, const Source& base);

}  // namespace conformance
