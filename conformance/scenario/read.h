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
inline constexpr std::array<std::string_view, 4> kBlockCopyFlags = {
    "shallow", "reuse-ext", "transient-job", "synchronous-writes"};
inline constexpr std::array<std::string_view, 1> kPullFlags = {"continuous"};

inline constexpr std::array<std::string_view, 10> kSnapshotCreateFlags = {
    "redefine",  "current", "no-metadata", "halt", "disk-only",
    "reuse-ext", "quiesce", "atomic",      "live", "validate"};
inline constexpr std::array<std::string_view, 3> kSnapshotDeleteFlags = {
    "children", "metadata-only", "children-only"};
inline constexpr std::array<std::string_view, 4> kSnapshotRevertFlags = {"running", "paused",
                                                                         "force", "reset-nvram"};
// How a snapshot concerns a disk, or the memory but for the last.
inline constexpr std::array<std::string_view, 4> kSnapshotModes = {"no", "internal", "external",
                                                                   "manual"};

// The API calls, as scenario files spell them; the order is CallStep::Api's.
inline constexpr std::array<std::string_view, 13> kApiNames = {
    "blockRebase",       "blockJobAbort",  "blockJobSetSpeed", "blockPull", "blockCommit",
    "blockCopy",         "pull",           "pullAll",          "pullInfo",  "pullAbort",
    "snapshotCreateXML", "snapshotDelete", "snapshotRevert"};
// The formats of images; the order is Image::Format's.
inline constexpr std::array<std::string_view, 2> kImageFormats = {"raw", "qcow2"};
// How others hold an image's lease; the order is LeaseMode's.
inline constexpr std::array<std::string_view, 2> kLeaseModes = {"shared", "exclusive"};
// The guest's operations; the order is GuestStep::Operation's.
inline constexpr std::array<std::string_view, 5> kGuestOperations = {"write", "zero", "discard",
                                                                     "flush", "read"};
// What a fault may let fail, and how.
inline constexpr std::array<std::string_view, 5> kFaultOperations = {"read", "write", "discard",
                                                                     "flush", "grow"};
inline constexpr std::array<std::string_view, 2> kFaultNumbers = {"EIO", "ENOSPC"};

}  // namespace conformance
