// A node of the block graph: named, with children, read and written by parents.
//
// A driver derives from Node and implements the do_… calls; the public calls add what every node
// has: limits, dirty bitmaps, requests in flight.  Nodes are shared: by the monitor (blockdev-add),
// by parents (edges), by jobs and devices.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/block/bitmap.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::block {

class Node;
using NodePtr = std::shared_ptr<Node>;

// QAPI's BlockPermission, as bits.
using Permissions = unsigned;
inline constexpr Permissions kConsistentRead = 1, kWrite = 2, kWriteUnchanged = 4, kResize = 8;
inline constexpr Permissions kAllPermissions = 15;

// What a user of a node points at it with.  Replacing a node moves every edge that shows at it.
class Edge {
 public:
  // `role` is the child's name in its parent: "file", "backing", "root", "main job".
  Edge(NodePtr node, Node* parent, std::string role);
  ~Edge();
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  Node& operator*() const { return *node_; }
  Node* operator->() const { return node_.get(); }
  const NodePtr& node() const { return node_; }
  Node* parent() const { return parent_; }  // null: a device or a job
  const std::string& role() const { return role_; }
  void point_at(NodePtr node);

  // Of a device or a job: its name in QEMU's texts, what it needs and what it shares.  Those of a
  // node follow from the node (permissions.h).
  std::string user = "an unnamed block device";
  Permissions required = 0;
  Permissions shared = kAllPermissions;

 private:
  NodePtr node_;
  Node* parent_;
  std::string role_;
};
using EdgePtr = std::unique_ptr<Edge>;

// What a stretch of a node is, in this layer alone.
struct Status {
  std::uint64_t length = 0;
  bool allocated = false;  // this layer decides what is read; else its backing file does
  bool zero = false;       // known to read as zeroes (if allocated)
};

class Node : public std::enable_shared_from_this<Node> {
 public:
  Node(World& world, std::string name, std::string driver);
  virtual ~Node();

  const std::string& name() const { return name_; }
  const std::string& driver() const { return driver_; }

  // Requests.  Ranges must lie within size(); reading beyond the end is the caller's bug.
  Task<Result<>> read(std::uint64_t offset, MutableBytes into);
  Task<Result<>> write(std::uint64_t offset, Bytes from);
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap);
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length);
  virtual Task<Result<>> flush() = 0;

  // Virtual size in bytes, as the next parent sees it.
  virtual std::uint64_t size() const = 0;
  // The longest stretch of one kind from `offset`, at most `length` bytes (> 0, within size()).
  virtual Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) = 0;
  // Cluster size, 0 if the format has none (bdrv_get_info).
  virtual std::uint64_t cluster_size() const { return 0; }
  // File name the image's own header gives for its backing file; empty if none.
  virtual std::string header_backing_file() const { return {}; }
  // Host file at the bottom of the `file` children; what QMP calls "file".
  virtual std::string filename() const;
  // The bytes beneath this node, if it passes them on as they are (file, plain raw); else null.
  virtual std::shared_ptr<storage::Storage> storage() const { return nullptr; }
  // Writes back what is cached and closes; called once, before the node goes.
  virtual Task<Result<>> close() { co_return ok(); }
  // Makes this node's backing file `backing` (null: none), while it runs.
  virtual void set_backing(NodePtr backing);
  // Adds what the driver knows to QMP's ImageInfo of this node.
  virtual void describe_image(Json& image) const { (void)image; }
  virtual bool is_filter() const { return false; }
  // Needs of its children just what its own users need of it.
  virtual bool passes_permissions() const { return is_filter(); }

  // Children by role; null if there is none.
  Node* child(std::string_view role) const;
  Node* backing() const { return child("backing"); }
  Node* file() const { return child("file"); }
  void attach(std::string role, NodePtr node);
  void detach(std::string_view role);

  const std::vector<Edge*>& parents() const { return parents_; }
  const std::vector<EdgePtr>& children() const { return children_; }

  // Bitmaps of this node, oldest first; a job's own (nameless) ones too.
  std::vector<std::shared_ptr<DirtyBitmap>> bitmaps;
  bool read_only = false;
  bool monitor_owned = false;  // made by blockdev-add: stays until blockdev-del
  bool auto_read_only = false;
  bool discard_unmap = false;  // option discard=unmap: guest and mirror discards reach the image
  // Not empty while a job forbids other jobs and removal: "block device is in use by block job: …".
  std::string busy_reason;

 protected:
  virtual Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) = 0;
  virtual Task<Result<>> do_write(std::uint64_t offset, Bytes from) = 0;
  virtual Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                         bool unmap) = 0;
  virtual Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) = 0;
  World& world() { return world_; }

 private:
  friend class Edge;
  void mark_dirty(std::uint64_t offset, std::uint64_t length);

  World& world_;
  std::string name_;
  std::string driver_;
  std::vector<EdgePtr> children_;
  std::vector<Edge*> parents_;
};

// Passes everything on to its only child, in the role "backing" (as QEMU's job filters do).
class FilterNode : public Node {
 public:
  FilterNode(World& world, std::string name, std::string driver, NodePtr next)
      : Node(world, std::move(name), std::move(driver)) {
    attach("backing", std::move(next));
  }
  Task<Result<>> flush() override { return backing()->flush(); }
  std::uint64_t size() const override { return backing()->size(); }
  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    return backing()->status(offset, length);
  }
  std::uint64_t cluster_size() const override { return backing()->cluster_size(); }
  std::string filename() const override { return backing()->filename(); }
  bool is_filter() const override { return true; }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return backing()->read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return backing()->write(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return backing()->write_zeroes(offset, length, unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return backing()->discard(offset, length);
  }
};

// What a stretch is when `top` and everything below it is looked at: `allocated` says that some
// layer decides, `zero` that it reads as zeroes (also because no layer has it).
Task<Result<Status>> status_of_chain(Node& top, std::uint64_t offset, std::uint64_t length);

// Whether some layer from `top` down to, but not including, `base` (null: the whole chain) has the
// stretch.
Task<Result<Status>> status_above(Node& top, const Node* base, std::uint64_t offset,
                                  std::uint64_t length);

// Reads through `node`, with zeroes beyond its end.
Task<Result<>> read_padded(Node& node, std::uint64_t offset, MutableBytes into);

// The backing chain's next layer, filters skipped; null at the end.
Node* next_layer(const Node& node);

// Lets everything that points at `from` point at `to`, but for `except`'s own edges.
void replace_node(const NodePtr& from, const NodePtr& to, const Node* except);

}  // namespace sim::block
