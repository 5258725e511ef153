// What libvirt reads of an image to know its chain: the magic, and the name and format of what lies
// beneath.  (Sizes it asks QEMU for.)

#pragma once

#include <memory>
#include <string>

#include "conformance/domain/source.h"
#include "conformance/target/domain_error.h"
#include "conformance/target/files.h"

namespace conformance {

// The format the file's first bytes speak of: "qcow2", else "raw".
DomainResult<std::string> probe_format(const Files& files, const std::string& path);

// Whether the qcow2 header of the file names a backing file.
DomainResult<bool> names_backing(const Files& files, const std::string& path);

// The chain of the image at `path`, read as `format`.  A lower image whose format no header tells
// is probed and may then have nothing beneath, as in libvirt since 6.1.
DomainResult<std::unique_ptr<Source>> read_chain(const Files& files, const std::string& path,
                                                 const std::string& format);

}  // namespace conformance
