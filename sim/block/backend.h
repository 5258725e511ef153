// A block backend: what a guest device, the monitor's `-drive` or a job reads and writes a node
// through (QEMU: BlockBackend).  It has the user's side of drained sections, of errors and of
// accounting.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/block/graph.h"

namespace sim::block {

enum class OnError : std::uint8_t { report, ignore, enospc, stop, automatic };
inline constexpr std::array<std::string_view, 5> kOnErrorNames = {"report", "ignore", "enospc",
                                                                  "stop", "auto"};
enum class Action : std::uint8_t { report, ignore, stop };
inline constexpr std::array<std::string_view, 3> kActionNames = {"report", "ignore", "stop"};

// What a policy makes of an error; `automatic` is enospc for writes and report for reads.
Action action_for(OnError policy, bool is_read, int number);

enum class IoStatus : std::uint8_t { ok, failed, nospace };
inline constexpr std::array<std::string_view, 3> kIoStatusNames = {"ok", "failed", "nospace"};

// What query-blockstats counts.
struct Accounting {
  // Requests by how long they took: bins[i] those below boundaries[i] (ns).
  struct Histogram {
    std::vector<std::uint64_t> boundaries, bins;
  };
  struct Kind {
    std::uint64_t bytes = 0, done = 0, failed = 0, invalid = 0, merged = 0, nanoseconds = 0;
    std::optional<Histogram> histogram;
  };
  Kind read, write, flush, unmap, zone_append;
  bool counts_failed = true, counts_invalid = true;
  std::optional<Instant> last_request;  // when the last one ended

  // A request of so many bytes has ended.
  void finish(Kind& kind, std::uint64_t length, Instant begin, Instant end, bool ok);
};

// The device that a backend belongs to.
class Device {
 public:
  virtual ~Device() = default;
  // The part that has the backend: its id if it was given one, else its QOM path.
  virtual std::string label() const = 0;
  // The medium was changed; the tray moved.
  virtual bool has_removable_media() const { return false; }
  virtual bool is_tray_open() const { return false; }
  virtual bool is_medium_locked() const { return false; }
  virtual void request_eject(bool force) { (void)force; }
  virtual void set_tray(bool open) { (void)open; }
  virtual void medium_changed(bool loaded) { (void)loaded; }
};

class Backend final : public User {
 public:
  // `name`: a block device's ("" : none, as of devices that were given a node name).
  Backend(Graph& graph, std::string name, Permission permission);
  ~Backend() override;

  World& world() const { return graph_.world(); }
  const std::string& name() const { return name_; }
  NodePtr node() const { return edge_ ? edge_->node() : nullptr; }
  Edge* edge() const { return edge_.get(); }
  Permission permission() const { return permission_; }

  // Takes the node; conflicts of permissions are refused.
  Result<> insert(const NodePtr& node);
  void remove();
  Result<> replace(const NodePtr& node);
  Result<> set_permission(Permission permission);

  // Requests of the user.  Beyond the end: EIO.  In drained sections they wait, unless
  // `queues_requests` is off.
  Task<Result<>> read(std::uint64_t offset, MutableBytes into);
  Task<Result<>> write(std::uint64_t offset, Bytes from);
  Task<Result<>> write_compressed(std::uint64_t offset, Bytes from);
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags);
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length);
  Task<Result<>> flush();
  std::uint64_t size() const { return edge_ ? edge_->node()->size() : 0; }

  // Reads and writes wait for their turn in the group; null: none (block_set_io_throttle).
  void set_throttle_group(std::string name, std::shared_ptr<ThrottleGroup> group);
  const std::shared_ptr<ThrottleGroup>& throttle_group() const { return throttle_group_; }
  const std::string& throttle_group_name() const { return throttle_group_name_; }

  // User.
  std::string describe() const override;
  std::string device_name() const override { return name_; }
  void drained_begin() override;
  void drained_end() override;
  bool is_busy() const override { return in_flight_ > 0; }
  // True: requests wait, if this backend queues them at all (`queues_requests`).
  bool is_drained() const { return quiet_ > 0; }

  Device* device = nullptr;  // outlives its use of the backend
  OnError on_read_error = OnError::report;
  OnError on_write_error = OnError::enospc;
  bool io_status_enabled = false;
  // Only what a policy can stop for has a status.
  bool tells_io_status() const;
  IoStatus io_status = IoStatus::ok;
  bool write_cache = true;
  bool queues_requests = true;
  bool medium_is_read_only = false;  // the last one, or what the first is to be
  Accounting accounting;

 private:
  class Flight;
  bool has_medium() const;
  Task<Result<>> check(std::uint64_t offset, std::uint64_t length);
  // The same, and the request's turn in the throttle group has come.
  Task<Result<>> admit(bool is_write, std::uint64_t offset, std::uint64_t length);
  Task<void> wait_while_drained();

  Graph& graph_;
  std::string name_;
  Permission permission_;
  EdgePtr edge_;
  int quiet_ = 0;
  std::uint64_t in_flight_ = 0;
  WaitQueue drained_;
  std::string throttle_group_name_;
  std::shared_ptr<ThrottleGroup> throttle_group_;
  bool unthrottled_ = false;  // in a drained section
};

}  // namespace sim::block
