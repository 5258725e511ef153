// What the users of a node need of it, and what they let others do with it.  Two users conflict
// when one needs what the other does not share.
//
// Source: QAPI's BlockPermission, and refusals measured on 5.2 to 11.1
// (real-qemu/differential/qmp_requests.json, scenarios/qmp).

#pragma once

#include <string>

namespace sim::block {

// QAPI's BlockPermission, as bits.
using Permissions = unsigned;
inline constexpr Permissions kConsistentRead = 1, kWrite = 2, kWriteUnchanged = 4, kResize = 8;
inline constexpr Permissions kAllPermissions = 15;

// What one user needs and what it shares.
struct Permission {
  Permissions needed = 0;
  Permissions shared = kAllPermissions;
  friend bool operator==(const Permission&, const Permission&) = default;
};

// "consistent read, write": as QEMU lists them.
std::string words(Permissions permissions);

// What a child is to its parent, as bits (QEMU: BdrvChildRole).
using Roles = unsigned;
inline constexpr Roles kData = 1;      // guest data
inline constexpr Roles kMetadata = 2;  // the format's own structures
inline constexpr Roles kFiltered = 4;  // passed on as it is
inline constexpr Roles kCow = 8;       // shows through what the parent has not (a backing file)
inline constexpr Roles kPrimary = 16;  // the one that the parent's file name comes from
inline constexpr Roles kImage = kData | kMetadata | kPrimary;

// What a parent that has users with `above` needs of a child in these roles, unless its driver
// knows better (Node::child_permission).  `writable`: the parent itself is not read-only.
Permission default_child_permission(Roles roles, Permission above, bool writable, bool inactive);

}  // namespace sim::block
