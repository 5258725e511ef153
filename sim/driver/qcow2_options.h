// The options of driver `qcow2` that concern how an image is used, not what it is.

#pragma once

#include <memory>
#include <string_view>

#include "sim/base/json.h"
#include "sim/block/graph.h"
#include "sim/crypto/sector_cipher.h"
#include "sim/qcow2/header.h"

namespace sim::driver {

// Those that may change while an image is open; sizes of caches and checks of overlaps change
// nothing that can be seen.
inline constexpr std::string_view kQcow2ReopenOptions =
    "lazy-refcounts|pass-discard-request|pass-discard-snapshot|pass-discard-other|"
    "overlap-check|cache-size|l2-cache-size|l2-cache-entry-size|refcount-cache-size|"
    "cache-clean-interval|encrypt|discard-no-unref";

// What QEMU refuses of them, in its order (QAPI: BlockdevOptionsQcow2, checked by the schema).
Result<> check_qcow2_options(const Json& options, const qcow2::Header& header,
                             const Profile& profile);

// The secret itself: "No secret with id 'x'".
Result<std::string> find_secret(const block::Graph& graph, const std::string& id);

// What opens the image's data, by the secret that `options` name; null if it is not encrypted.
Task<Result<std::shared_ptr<const crypto::SectorCipher>>> unlock_qcow2(block::Graph& graph,
                                                                       Json options,
                                                                       storage::Storage& file,
                                                                       qcow2::Header header);

}  // namespace sim::driver
