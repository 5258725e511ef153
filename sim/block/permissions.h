// What the users of a node need of it, and what they let others do with it.  Two users conflict
// when one needs what the other does not share.
//
// Source: QAPI's BlockPermission, and the refusals of QEMU 7.2 as measured
// (real-qemu/differential/qmp_requests.json).

#pragma once

#include <string>
#include <vector>

#include "sim/block/node.h"

namespace sim::block {

struct User {
  std::string name;  // as in QEMU's texts: "node 'a'", "block device '…'"
  std::string role;  // the child's name in it: "root", "file", "backing"
  Permissions required = 0;
  Permissions shared = kAllPermissions;
};

// Who uses `node` now, newest first.
std::vector<User> users_of(const Node& node);

// What a format driver's node, writable or not, is to its child `file`.
User format_user(const std::string& node_name, bool writable);
// What a guest device is to its root, which it writes to unless that is read-only.
User device_user(const std::string& qom_path, bool writable);
// What a mirror is to its target.
User mirror_target_user();

// "Permission conflict on node 'N': permissions 'P' are both required by U and unshared by V.",
// also for the nodes below, which feel a new user through filters.
Result<> check_new_user(const Node& node, const User& user);

// True if somebody needs what is read to stay as it is.
bool is_read_consistently(const Node& node);

}  // namespace sim::block
