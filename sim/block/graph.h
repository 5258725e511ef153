// All nodes of one machine: their names, the edges between them, and what holds for the whole:
// permissions, drained sections, who is still needed.
//
// Source: QAPI's block-core, QEMU's behaviour measured on 5.2 to 11.1.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/block/node.h"
#include "sim/block/throttle.h"
#include "sim/profile/profile.h"
#include "sim/storage/storage.h"

namespace sim::block {

class Backend;
struct Reopened;

// Who wants to know what happens to nodes: the monitor, which turns it into events.
class GraphObserver {
 public:
  virtual ~GraphObserver() = default;
  // A write went beyond the node's threshold, which is off from here on (BLOCK_WRITE_THRESHOLD).
  virtual void threshold_exceeded(const Node& node, std::uint64_t threshold,
                                  std::uint64_t exceeded_by) = 0;
  // A driver prints on QEMU's standard output (blkdebug does).
  virtual void printed(std::string_view text) = 0;
};

class Graph {
 public:
  Graph(World& world, storage::FileSystem& files, const Profile& profile)
      : world_(world), files_(files), profile_(profile) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  World& world() { return world_; }
  storage::FileSystem& files() { return files_; }
  const Profile& profile() const { return profile_; }
  GraphObserver* observer = nullptr;
  // What was done to a node is known to crash this release: why.
  std::optional<std::string> crash;

  // --- names ---

  // The node of that node-name, or null.
  NodePtr find(std::string_view name) const;
  // By name of a block device, then of a node: "Cannot find device='x' nor node-name='x'".
  Result<NodePtr> find_device_or_node(const std::string& name) const;
  // The same as QMP commands that take both: either may be empty (bdrv_lookup_bs).
  Result<NodePtr> find_device_or_node(const std::string& device, const std::string& node) const;
  // A name that is given is checked, one that is not is made: "#block123".
  Result<std::string> choose_name(const std::string& wanted);
  std::string generate_name();
  // Makes a node known.  Newest first in all(), as QEMU lists them.
  void add(const NodePtr& node);
  // Takes one out again that could not be opened.
  void forget(const NodePtr& node);
  const std::vector<NodePtr>& all() const { return nodes_; }

  // Named block backends (-drive), newest last; and all others.  Backend's constructor does it.
  std::vector<Backend*> backends;
  Backend* find_backend(std::string_view name) const;

  ThrottleGroups throttle_groups;
  std::map<std::string, std::string, std::less<>> secrets;  // by id: in the clear

  // Users of nodes that a release forgets to remove: they stay until the machine ends.
  std::vector<std::shared_ptr<void>> lost;

  // --- edges.  Each either succeeds whole or changes nothing. ---

  // Gives `parent` a child.  Refuses circles and conflicts of permissions.
  Result<> attach(Node& parent, const NodePtr& child, const std::string& name, Roles roles);
  void detach(Node& parent, std::string_view name);
  // Makes `backing` (null: none) the node's backing file; frozen links are refused.
  Result<> set_backing(Node& node, const NodePtr& backing);
  Result<EdgePtr> attach_user(User& user, const NodePtr& node, const std::string& name,
                              Permission permission);
  void detach_user(EdgePtr edge);
  Result<> set_permission(Edge& edge, Permission permission);
  // Lets one edge point at another node.
  Result<> move(Edge& edge, const NodePtr& to);
  // Lets everything that points at `from` point at `to`, but for edges of `to` itself and of what
  // is below it, and users that stay (QEMU: bdrv_replace_node).
  Result<> replace(const NodePtr& from, const NodePtr& to);
  // Puts `filter`, which has no children yet, above `node`: its child `name`, and `node`'s users
  // become the filter's (bdrv_append).
  Result<> insert_above(const NodePtr& filter, const NodePtr& node, const std::string& name,
                        Roles roles);
  // Takes a filter out again: its users use what it filtered (bdrv_drop_filter).
  Result<> drop_filter(const NodePtr& filter);
  // The opposite of insert_above() for an overlay: its users use `node`, its backing file, again.
  Result<> remove_overlay(const NodePtr& overlay, const NodePtr& node);
  // Recomputes permissions from these nodes down, say after a driver's own needs have changed.
  Result<> refresh(const std::vector<Node*>& nodes);

  // Freezes (by +1) or thaws (-1) the links of the backing chain from `top` to `base`.
  Result<> freeze_chain(Node& top, const Node* base);
  void thaw_chain(Node& top, const Node* base);

  // Makes the node writable or read-only while it runs: its driver opens the image anew.  Refused
  // where permissions of other users forbid it.
  Task<Result<>> set_read_only(NodePtr node, bool read_only);
  // Gives nodes other options and children, all of them or none (reopen.h).
  Task<Result<>> reopen(std::vector<Reopened> nodes);

  // --- drained sections ---

  // From begin to end no new requests reach the node from above; begin returns when those under
  // way have ended.  Nests.
  Task<void> drain_begin(NodePtr node);
  void drain_end(Node& node);
  Task<void> drain_all_begin();
  void drain_all_end();

  // --- lifetimes ---

  // Closes and forgets every node that nobody needs any more: no parents, not the monitor's, and
  // nobody else holds a NodePtr.  After commands and at the end of jobs.
  Task<void> collect();
  // The same from where nobody can wait: soon.
  void collect_soon();
  // Closes everything, as QEMU does at its end.  Users have let go before.
  Task<void> close_all();
  // Forgets every node as it is; whoever calls it has closed them.
  void forget_all();

 private:
  struct Undo;
  Result<> check_cycle(const Node& parent, const Node& child, const std::string& name) const;
  Result<> refresh_node(Node& node, Undo& undo);
  Result<> check_users(const Node& node) const;
  Error conflict(const Node& node, const Edge& a, const Edge& b) const;
  void put(Edge& edge, const NodePtr& node);
  void swap(Reopened& wanted);
  static void update_backing_blocker(Edge& edge, Node* before);
  static void tell_parents(const std::vector<Edge*>& moved);
  Task<void> close(NodePtr node);

  World& world_;
  storage::FileSystem& files_;
  const Profile& profile_;
  std::vector<NodePtr> nodes_;
  std::map<std::string, Node*, std::less<>> names_;
  std::vector<NodePtr> drained_;  // by drain_all_begin
  int drained_all_ = 0;
  std::uint64_t generated_ = 0;
  bool collecting_ = false;
  bool collect_again_ = false;
};

}  // namespace sim::block
