// A block backend: what a guest device, the monitor's `-drive` or a job reads and writes a node
// through (QEMU: BlockBackend).  It has the user's side of drained sections, of errors and of
// accounting.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

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
  struct Kind {
    std::uint64_t bytes = 0, done = 0, failed = 0, invalid = 0, merged = 0, nanoseconds = 0;
  };
  Kind read, write, flush, unmap, zone_append;
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

  // User.
  std::string describe() const override;
  std::string device_name() const override { return name_; }
  void drained_begin() override { ++quiet_; }
  void drained_end() override;
  bool is_busy() const override { return in_flight_ > 0; }

  Device* device = nullptr;  // outlives its use of the backend
  OnError on_read_error = OnError::report;
  OnError on_write_error = OnError::enospc;
  bool io_status_enabled = false;
  IoStatus io_status = IoStatus::ok;
  bool write_cache = true;
  bool queues_requests = true;
  Accounting accounting;

 private:
  class Flight;
  Task<Result<>> check(std::uint64_t offset, std::uint64_t length);
  Task<void> wait_while_drained();

  Graph& graph_;
  std::string name_;
  Permission permission_;
  EdgePtr edge_;
  int quiet_ = 0;
  std::uint64_t in_flight_ = 0;
  WaitQueue drained_;
};

}  // namespace sim::block
