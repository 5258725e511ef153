// Limits of I/O, and groups whose members share them (QEMU: throttle.c, throttle-groups.c).
//
// Source: QAPI's ThrottleLimits; the leaky buckets are documented in QEMU's docs/throttle.txt;
// texts measured on 5.2 to 11.1.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/world/sync.h"
#include "sim/world/world.h"

namespace sim::block {

// One of the six: bytes or operations, of all, of reads or of writes.
struct ThrottleBucket {
  std::uint64_t average = 0;       // units per second; 0: no limit
  std::uint64_t burst = 0;         // units per second in bursts; 0: none
  std::uint64_t burst_length = 1;  // seconds
};

struct ThrottleLimits {
  enum Kind : std::uint8_t { bps_total, bps_read, bps_write, iops_total, iops_read, iops_write };
  static constexpr std::array<std::string_view, 6> kNames = {
      "bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"};
  std::array<ThrottleBucket, 6> buckets;
  std::uint64_t iops_size = 0;  // larger requests count as several; 0: as one

  bool limits_anything() const;
  // Changes what `json` names ("bps-total", "bps-total-max", "bps-total-max-length", "iops-size"),
  // each under `prefix`; other members are left alone.
  Result<> change(const Json& json, std::string_view prefix = "");
  // QEMU's rules between the values.
  Result<> check() const;
  // Every member, as qom-get shows it.
  Json to_json() const;
};

// Requests of the group's members wait here for their turn, first come, first served.
class ThrottleGroup {
 public:
  explicit ThrottleGroup(World& world)
      : world_(world), queues_{WaitQueue(world.scheduler), WaitQueue(world.scheduler)} {}

  const ThrottleLimits& limits() const { return limits_; }
  void set_limits(const ThrottleLimits& limits);

  // Waits until `bytes` more may be read or written, unless `passes` is true by then.
  Task<void> admit(bool is_write, std::uint64_t bytes, const bool& passes);
  // Lets those look again whose `passes` has changed.
  void wake_all();

 private:
  // In billionths of a unit, so that a nanosecond leaks whole ones.
  struct Level {
    unsigned __int128 units = 0, burst_units = 0;
  };
  void leak();
  Duration wait_of(bool is_write) const;
  void account(bool is_write, std::uint64_t bytes);

  World& world_;
  ThrottleLimits limits_;
  std::array<Level, 6> levels_;
  Instant leaked_at_;
  std::array<WaitQueue, 2> queues_;  // reads, writes
  std::array<bool, 2> is_waiting_{};
};

// By name.  An `object` stays until object-del; a group that block_set_io_throttle made goes with
// its last member.
struct ThrottleGroups {
  std::map<std::string, std::shared_ptr<ThrottleGroup>, std::less<>> objects;
  std::map<std::string, std::weak_ptr<ThrottleGroup>, std::less<>> made;

  // Null if there is none of that name.
  std::shared_ptr<ThrottleGroup> find(const std::string& name) const;
  // The same, made if there is none.
  std::shared_ptr<ThrottleGroup> find_or_make(World& world, const std::string& name);
};

}  // namespace sim::block
