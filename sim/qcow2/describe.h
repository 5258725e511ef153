// An image as QEMU describes it to its users.

#pragma once

#include <optional>

#include "sim/base/json.h"
#include "sim/crypto/luks.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

// QAPI: ImageInfoSpecificQCow2, without `encrypt`.
Json describe(const Image& image);

// QAPI: ImageInfoSpecificQCow2Encryption; without a LUKS header it is the legacy AES.
Json describe_encryption(const std::optional<crypto::LuksHeader>& luks);

}  // namespace sim::qcow2
