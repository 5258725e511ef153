// A node of the block graph: named, with children, read and written by parents.
//
// A driver derives from Node and implements the do_… calls; the public calls add what every node
// has: limits, dirty bitmaps, requests in flight.  Edges between nodes are the Graph's business
// (graph.h): it keeps names, permissions and drained sections true.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/block/bitmap.h"
#include "sim/block/blocker.h"
#include "sim/block/edge.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::block {

class Debugger;
class Graph;

// What a stretch of a node is, in this layer alone.
struct Status {
  std::uint64_t length = 0;
  bool allocated = false;  // this layer decides what is read; else its backing file does
  bool zero = false;       // known to read as zeroes (if allocated)
};

struct ZeroFlags {
  bool unmap = false;        // give the space back, if the node's discard option allows it
  bool no_fallback = false;  // ENOTSUP rather than plain writes
  bool forced = false;       // whatever the node's discard option says (not its children's)
};

enum class Preallocation : std::uint8_t { off, metadata, falloc, full };

struct Truncate {
  std::uint64_t size = 0;  // bytes
  bool exact = false;      // not only at least as long
  Preallocation preallocation = Preallocation::off;
  bool zero = false;  // what is new must read as zeroes
};

// QAPI: SnapshotInfo, of one internal snapshot.
struct InternalSnapshot {
  std::string id, name;
  std::uint64_t vm_state_size = 0;  // bytes
  std::uint32_t date_sec = 0, date_nsec = 0;
  std::uint64_t vm_clock_ns = 0;
  std::optional<std::uint64_t> icount;
};

enum class DetectZeroes : std::uint8_t { off, on, unmap };

class Node : public std::enable_shared_from_this<Node> {
 public:
  Node(Graph& graph, std::string name, std::string driver);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const std::string& name() const { return name_; }
  const std::string& driver() const { return driver_; }
  Graph& graph() const { return graph_; }
  World& world() const;

  // Requests.  Ranges must lie within size(); reading beyond the end is the caller's bug.
  Task<Result<>> read(std::uint64_t offset, MutableBytes into);
  Task<Result<>> write(std::uint64_t offset, Bytes from);
  // Whole clusters, or the last one up to the end (BDRV_REQ_WRITE_COMPRESSED); ENOTSUP if the
  // driver cannot.
  Task<Result<>> write_compressed(std::uint64_t offset, Bytes from);
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags);
  // Nothing happens unless the node's option is discard=unmap.
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length);
  Task<Result<>> flush();
  // Gives the node another size; its users are told.
  Task<Result<>> truncate(Truncate wanted);

  // Virtual size in bytes, as the next parent sees it.
  virtual std::uint64_t size() const = 0;
  // The longest stretch of one kind from `offset`, at most `length` bytes (> 0, within size()).
  virtual Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) = 0;
  // Cluster size, 0 if the format has none (bdrv_get_info).
  virtual std::uint64_t cluster_size() const { return 0; }
  // Requests that are not multiples of it are padded: 1 where the driver can do single bytes.
  virtual std::uint64_t request_alignment() const { return 1; }

  // --- the image below, for drivers that have one ---

  // The host file name, if the node is exactly what opening that name with this driver gives;
  // empty if not: QMP then shows filename() as "json:{…}".
  virtual std::string exact_filename() const;
  // What QMP calls "file": that of the node below if this one is implicit; else exact_filename(),
  // or "json:" and the options it takes to open it again.
  std::string filename() const;
  // The options it takes to open this node again, without its name (QEMU: full_open_options).  Of
  // an implicit node those of the node below.
  virtual Json open_options() const;
  // The bytes beneath this node, if it passes them on as they are (file, plain raw); else null.
  virtual std::shared_ptr<storage::Storage> storage() { return nullptr; }
  virtual bool supports_backing() const { return false; }
  // File name and format that the image's own header gives for its backing file; empty if none.
  virtual std::string header_backing_file() const { return {}; }
  virtual std::string header_backing_format() const { return {}; }
  // The backing file is not the one that the header leads to by itself (QEMU compares names).
  virtual bool is_backing_overridden() const { return false; }
  // Stores them (empty: none).  ENOTSUP if the driver has no such thing.
  virtual Task<Result<>> change_backing_name(std::string file, std::string format);
  // Nothing is allocated in this layer any more.  ENOTSUP if the driver cannot.
  virtual Task<Result<>> make_empty();
  // Adds what the driver knows to QMP's ImageInfo of this node.
  virtual void describe_image(Json& image) const { (void)image; }
  // bdrv_get_info works.
  virtual bool has_image_info() const { return true; }
  // Driver-specific members of query-blockstats ("driver-specific"), null if none.
  virtual Json describe_statistics() const { return nullptr; }
  virtual bool is_encrypted() const { return false; }
  virtual bool supports_compression() const { return false; }

  // Internal snapshots; ENOTSUP where the driver has none.
  virtual bool supports_snapshots() const { return false; }
  virtual std::vector<InternalSnapshot> snapshots() const { return {}; }
  virtual Task<Result<>> create_snapshot(InternalSnapshot wanted);
  virtual Task<Result<>> apply_snapshot(std::string id_or_name);
  virtual Task<Result<>> delete_snapshot(std::string id);
  virtual Task<Result<>> read_vm_state(std::uint64_t at, MutableBytes into);
  virtual Task<Result<>> write_vm_state(std::uint64_t at, Bytes from);

  // Persistent bitmaps: whether one more can be kept in the image (QEMU's texts), and taking one
  // out of it.
  virtual Result<> can_store_bitmap(const std::string& name, std::uint64_t granularity) const;
  virtual Task<Result<>> forget_stored_bitmap(std::string name);

  // --- the graph ---

  virtual bool is_filter() const { return false; }
  virtual bool is_format() const { return false; }
  // What this node needs of a child when its own users have `above` (default: permissions.h).
  virtual Permission child_permission(const Edge& child, Permission above) const;
  // The users of this node now need and share so much: take or change locks, reopen for writing.
  // Asked before the graph changes; a refusal undoes the change.
  virtual Result<> check_permission(Permission above) {
    (void)above;
    return ok();
  }
  // The same, decided: either what was checked, or what was before.
  virtual void apply_permission(Permission above) { (void)above; }
  // After `backing` was attached, replaced or detached.
  virtual void backing_changed() {}
  // A drained section begins (after the parents were told) or ends.
  virtual void drain_begin_driver() {}
  virtual void drain_end_driver() {}
  // Writes back what is cached; bitmaps are stored when the node becomes inactive or closes.
  virtual Task<Result<>> inactivate() { co_return ok(); }
  virtual Task<Result<>> activate() { co_return ok(); }
  // Writes back what is cached and closes; called once, before the node goes.
  virtual Task<Result<>> close() { co_return ok(); }

  // blockdev-reopen (reopen.h).  The driver's options that reopening may change, as a list for
  // is_listed(); nothing: the driver cannot reopen.
  virtual std::optional<std::string_view> reopen_options() const { return std::nullopt; }
  // Why the driver refuses its options, before anything is done.
  virtual Result<> check_reopen(const Json& wanted, bool writable) const;
  // `options`: those that are to hold from now on, checked by the schema; `writable` what the node
  // will be.  prepare may wait and refuse; then all prepared nodes are committed or all aborted.
  virtual Task<Result<>> prepare_reopen(Json options, bool writable);
  virtual void commit_reopen() {}
  virtual void abort_reopen() {}

  // Children by name; null if there is none.
  Edge* child_edge(std::string_view name) const;
  Node* child(std::string_view name) const;
  Node* backing() const { return child("backing"); }
  Node* file() const { return child("file"); }
  // The child that a filter passes on, and its name; null, empty if this is no filter.
  Node* filtered() const;
  std::string filtered_name() const;
  const std::vector<EdgePtr>& children() const { return children_; }  // newest first
  const std::vector<Edge*>& parents() const { return parents_; }      // newest first
  // What all users together need, and what all of them share.
  Permission cumulative() const;

  // --- state that commands and jobs look at and change ---

  bool read_only = false;
  bool auto_read_only = false;
  bool force_share = false;
  bool inactive = false;
  bool cache_direct = false, cache_no_flush = false;
  bool discard_unmap = false;  // option discard=unmap: guest and mirror discards reach the image
  DetectZeroes detect_zeroes = DetectZeroes::off;
  std::uint64_t write_threshold = 0;  // bytes; 0: none (block-set-write-threshold)
  bool implicit = false;              // a filter that a job made and nobody named
  bool turns_read_only = false;       // in the hands of a reopen
  bool probed = false;                // nobody said what format the image has
  // The filter of a stream that has concluded: QEMU crashes when something comes to use it
  // (measured on 7.2 to 11.1).
  bool outlived_job = false;
  Json options = Json::object();  // as given, children as node names or options (reopen)
  std::string context;            // AioContext: iothread id; empty: the main loop's

  // Who owns it beside its parents.
  bool monitor_owned = false;  // made by blockdev-add: stays until blockdev-del

  // Bitmaps of this node, oldest first; a job's own (nameless) ones too.
  std::vector<std::shared_ptr<DirtyBitmap>> bitmaps;
  std::shared_ptr<DirtyBitmap> find_bitmap(std::string_view name) const;

  // The node as whose child it was opened, by options and not by name: it follows that one's.
  std::weak_ptr<Node> opened_for;

  // --- debugging (driver blkdebug) ---

  // Where the driver of the node above raises its events; null: nobody looks.
  virtual Debugger* debugger() { return nullptr; }

  // Op blockers.
  void block(Ops ops, Reason reason);
  void unblock(const Reason& reason);
  void unblock(const Reason& reason, Op op);
  // "Node 'x' is busy: …" (QEMU's bdrv_op_is_blocked).
  Result<> check_allowed(Op op) const;
  bool has_blockers() const { return !blockers_.empty(); }
  // The name of the block device it is the root of, else its own.
  std::string device_or_node_name() const;
  std::string device_name() const;  // empty if it is no named device's root

  // Clusters of the range that this layer has not itself become its own, with what they read as:
  // for nobody's eyes, so that no bitmap takes note (QEMU: BDRV_REQ_COPY_ON_READ).
  Task<Result<>> copy_up(std::uint64_t offset, std::uint64_t length);
  // Every read does so first; counts those who want it.
  int copy_on_read = 0;

  // --- drained sections (graph.h begins and ends them) ---

  bool is_quiesced() const { return quiesced_ > 0; }
  // Requests under way in this node.
  std::uint64_t in_flight() const { return in_flight_; }

  // End of the highest write, in bytes; for query-blockstats ("wr_highest_offset").
  std::uint64_t highest_write() const { return highest_write_; }

 protected:
  virtual Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) = 0;
  virtual Task<Result<>> do_write(std::uint64_t offset, Bytes from) = 0;
  virtual Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from);
  virtual Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                         ZeroFlags flags) = 0;
  virtual Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) = 0;
  // Writes back what the driver caches: called before do_flush() where events tell the two apart;
  // elsewhere do_flush() does both.
  virtual Task<Result<>> do_flush_to_os() { co_return ok(); }
  virtual Task<Result<>> do_flush() { co_return ok(); }
  // False: everything written here has been flushed (QEMU: flushed_gen).
  bool has_unflushed_writes() const { return writes_ != flushed_writes_; }
  virtual Task<Result<>> do_truncate(Truncate wanted);

  // Something was written there: for drivers whose bytes are also written past them (storage()).
  void note_write(std::uint64_t offset, std::uint64_t length);

 private:
  friend class Edge;
  friend class Graph;
  struct Flight;
  // A drained section begins or ends here and, through their edges, at all users above.
  void begin_quiet();
  void end_quiet();
  bool is_busy() const;
  Result<> check_writable() const;
  // The events of a flush, and the first half of it.
  Task<Result<>> raise_flush(Debugger& debugger);
  // Tells if a write that is about to be made goes beyond the node's threshold.
  void check_threshold(std::uint64_t offset, std::uint64_t length);
  void mark_dirty(std::uint64_t offset, std::uint64_t length);

  Graph& graph_;
  std::string name_;
  std::string driver_;
  std::vector<EdgePtr> children_;
  std::vector<Edge*> parents_;
  std::vector<Blocker> blockers_;
  int quiesced_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint64_t highest_write_ = 0;
  std::uint64_t writes_ = 0, flushed_writes_ = 0;  // how many so far, and when it was flushed
  bool closes_late_ = false;                       // nobody needs it but requests under way
};

}  // namespace sim::block
