// A draft's JSON to a Scenario: types, defaults, spelling.

#pragma once

#include <cstdint>

#include "conformance/scenario/matrix.h"

namespace conformance {

// Reads one draft.  Images come out with backing images first; what names what is not yet checked
// (check_meaning does that), except that backing images must exist and have no cycle.
Scenario read_draft(const Draft& draft, FirstError& error);

// A size: an integer, or text such as "64k".
std::uint64_t read_size(const Json& value, const std::string& place, FirstError& error);

// The names of libvirt's flags, as scenario files spell them.
inline constexpr std::array<std::string_view, 8> kBlockRebaseFlags = {
    "shallow",  "reuse-ext", "copy-raw",        "copy",
    "relative", "copy-dev",  "bandwidth-bytes", "base-xml"};
inline constexpr std::array<std::string_view, 2> kBlockJobAbortFlags = {"async", "pivot"};
inline constexpr std::array<std::string_view, 1> kBlockJobSetSpeedFlags = {"bandwidth-bytes"};

inline constexpr std::array<std::string_view, 1> kBlockPullFlags = {"bandwidth-bytes"};
inline constexpr std::array<std::string_view, 5> kBlockCommitFlags = {
    "shallow", "delete", "active", "relative", "bandwidth-bytes"};
inline constexpr std::array<std::string_view, 1> kPullFlags = {"continuous"};

// The API calls, as scenario files spell them; the order is CallStep::Api's.
inline constexpr std::array<std::string_view, 9> kApiNames = {
    "blockRebase", "blockJobAbort", "blockJobSetSpeed", "blockPull", "blockCommit",
    "pull",        "pullAll",       "pullInfo",         "pullAbort"};
// Those that only as-proposed has.
inline bool is_proposed(CallStep::Api api) { return api >= CallStep::Api::pull; }
// The guest's operations; the order is GuestStep::Operation's.
inline constexpr std::array<std::string_view, 5> kGuestOperations = {"write", "zero", "discard",
                                                                     "flush", "read"};
// What a fault may let fail, and how.
inline constexpr std::array<std::string_view, 5> kFaultOperations = {"read", "write", "discard",
                                                                     "flush", "grow"};
inline constexpr std::array<std::string_view, 2> kFaultNumbers = {"EIO", "ENOSPC"};

}  // namespace conformance
