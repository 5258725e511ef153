// Who points at a node: other nodes, and users that are no nodes (block backends, jobs).

#pragma once

#include <memory>
#include <string>

#include "sim/block/permissions.h"

namespace sim::block {

class Node;
using NodePtr = std::shared_ptr<Node>;

// Something that uses nodes and is none: a guest device's backend, a job.
class User {
 public:
  virtual ~User() = default;
  // "block device 'd'", "mirror job 'j'": as in texts of permission conflicts.
  virtual std::string describe() const = 0;
  // What op blockers' and other texts call it if it is a named block device; empty if not.
  virtual std::string device_name() const { return {}; }
  // A drained section begins or ends at a node that it uses: it starts no requests in between.
  // Called once for each of its edges; counted.
  virtual void drained_begin() {}
  virtual void drained_end() {}
  // True while requests of it are under way, which a drained section must wait for.
  virtual bool is_busy() const { return false; }
  // Stays at its node when that is replaced (a job's own hold on its nodes).
  virtual bool stays() const { return false; }
  // The node has another size.
  virtual void resized() {}
};

// What a user, or a parent node, points at a node with.  Made and moved by the Graph only, which
// keeps the permissions true.
class Edge {
 public:
  // Of a node: `parent` has a child `name` ("file", "backing").  Of a user: `name` is "root", or
  // the job's word ("main node").
  Edge(Node* parent, User* user, std::string name, Roles roles, Permission permission);
  ~Edge();
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  Node& operator*() const { return *node_; }
  Node* operator->() const { return node_.get(); }
  const NodePtr& node() const { return node_; }
  Node* parent() const { return parent_; }  // null: a user's
  User* user() const { return user_; }      // null: a node's
  const std::string& name() const { return name_; }
  Roles roles() const { return roles_; }
  Permissions needed() const { return permission_.needed; }
  Permissions shared() const { return permission_.shared; }
  Permission permission() const { return permission_; }

  // "node 'a'", or as the user describes itself.
  std::string describe_owner() const;

  // A job relies on it: it cannot be moved, nor its parent reopened with another child.
  int frozen = 0;

 private:
  friend class Graph;
  friend class Node;
  void point_at(NodePtr node);
  void begin_quiet();
  void end_quiet();

  NodePtr node_;  // null only while the Graph has it in hand
  Node* parent_;
  User* user_;
  std::string name_;
  Roles roles_;
  Permission permission_;
  bool quiet_ = false;                          // the owner was told of a drained section
  std::shared_ptr<const std::string> blocker_;  // of a backing file: what its overlay forbids
};
using EdgePtr = std::unique_ptr<Edge>;

}  // namespace sim::block
