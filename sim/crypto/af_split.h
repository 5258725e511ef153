// The anti-forensic splitter of LUKS: a key blown up to many stripes, all of which are needed to
// have it back (LUKS on-disk format 1.2, section 4).

#pragma once

#include <functional>

#include "sim/base/bytes.h"
#include "sim/crypto/hash.h"

namespace sim::crypto {

// `split` holds a whole number of stripes of key.size() bytes, at least one.
void af_split(const Hash& hash, Bytes key, const std::function<void(MutableBytes)>& random,
              MutableBytes split);
void af_merge(const Hash& hash, Bytes split, MutableBytes key);

}  // namespace sim::crypto
