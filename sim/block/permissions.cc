#include "sim/block/permissions.h"

#include <fmt/format.h>

#include <ranges>

namespace sim::block {

static constexpr Permissions kShared = kConsistentRead | kWriteUnchanged;

User format_user(const std::string& node_name, bool writable) {
  const Permissions required = kConsistentRead | (writable ? kWrite | kResize : 0U);
  return {fmt::format("node '{}'", node_name), "file", required, kShared};
}

User device_user(const std::string& qom_path, bool writable) {
  const Permissions required = kConsistentRead | (writable ? kWrite : 0U);
  return {fmt::format("block device '{}'", qom_path), "root", required, kShared | kResize};
}

User mirror_target_user() { return {"an unnamed block device", "root", kWrite, kWriteUnchanged}; }

// What the parent of `edge` needs and shares, if `above` are that parent's own users.
static User user_through(const Edge& edge, const std::vector<User>& above) {
  const Node& parent = *edge.parent();
  User user{fmt::format("node '{}'", parent.name()), edge.role()};
  for (const User& one : above) {
    user.required |= one.required;
    user.shared &= one.shared;
  }
  if (parent.passes_permissions()) return user;
  if (edge.role() == "file") return format_user(parent.name(), !parent.read_only);
  user.required &= kConsistentRead;
  user.shared = kShared | ((user.shared & kWrite) != 0 ? kWrite | kResize : 0U);
  return user;
}

std::vector<User> users_of(const Node& node) {
  std::vector<User> users;
  for (const Edge* edge : std::views::reverse(node.parents())) {
    if (edge->parent() != nullptr)
      users.push_back(user_through(*edge, users_of(*edge->parent())));
    else
      users.push_back({edge->user, edge->role(), edge->required, edge->shared});
  }
  return users;
}

static std::string words(Permissions permissions) {
  std::string text;
  for (const auto& [bit, word] :
       {std::pair{kConsistentRead, "consistent read"}, std::pair{kWrite, "write"},
        std::pair{kWriteUnchanged, "write unchanged"}, std::pair{kResize, "resize"}})
    if ((permissions & bit) != 0) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

static Result<> check_users(const Node& node, const std::vector<User>& users) {
  for (const User& a : users) {
    for (const User& b : users) {
      const Permissions missing = b.required & ~a.shared;
      if (&a == &b || missing == 0) continue;
      const auto use = [&](const User& user) {
        return fmt::format("{} (uses node '{}' as '{}' child)", user.name, node.name(), user.role);
      };
      return Error{ErrorClass::generic,
                   fmt::format("Permission conflict on node '{}': permissions '{}' are both "
                               "required by {} and unshared by {}.",
                               node.name(), words(missing), use(b), use(a))};
    }
  }
  for (const EdgePtr& edge : node.children()) {
    std::vector<User> below;
    for (const Edge* other : std::views::reverse(edge->node()->parents())) {
      if (other == edge.get())
        below.push_back(user_through(*other, users));
      else if (other->parent() != nullptr)
        below.push_back(user_through(*other, users_of(*other->parent())));
      else
        below.push_back({other->user, other->role(), other->required, other->shared});
    }
    TRY_OK(check_users(*edge->node(), below));
  }
  return ok();
}

Result<> check_new_user(const Node& node, const User& user) {
  std::vector<User> users = users_of(node);
  users.insert(users.begin(), user);
  return check_users(node, users);
}

bool is_read_consistently(const Node& node) {
  for (const User& user : users_of(node))
    if ((user.required & kConsistentRead) != 0) return true;
  return false;
}

}  // namespace sim::block
