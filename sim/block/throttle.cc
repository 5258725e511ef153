#include "sim/block/throttle.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::block {

namespace {

using Units = unsigned __int128;  // billionths of a byte or of an operation
constexpr std::uint64_t kBillion = 1'000'000'000;
constexpr std::int64_t kMost = 1'000'000'000'000'000;  // QEMU: THROTTLE_VALUE_MAX

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// The two that a request counts in, for bytes and for operations.
std::array<ThrottleLimits::Kind, 2> kinds_of(bool is_write, bool operations) {
  using enum ThrottleLimits::Kind;
  if (operations) return {iops_total, is_write ? iops_write : iops_read};
  return {bps_total, is_write ? bps_write : bps_read};
}

// Each for itself: out of range, or a burst's length that cannot be.
Result<> set_value(std::uint64_t& value, std::int64_t wanted, bool is_length) {
  if (is_length && wanted == 0) return generic("the burst length cannot be 0");
  if (wanted < 0 || wanted > kMost)
    return generic(fmt::format("bps/iops/max values must be within [0, {}]", kMost));
  value = static_cast<std::uint64_t>(wanted);
  return ok();
}

}  // namespace

bool ThrottleLimits::limits_anything() const {
  return std::ranges::any_of(buckets, [](const ThrottleBucket& it) { return it.average != 0; });
}

Result<> ThrottleLimits::change(const Json& json, std::string_view prefix) {
  const auto set = [&](std::uint64_t& value, std::string name, bool is_length) -> Result<> {
    name = std::string(prefix) + name;
    if (!json.contains(name)) return ok();
    return set_value(value, json[name].get<std::int64_t>(), is_length);
  };
  for (std::size_t kind = 0; kind < buckets.size(); ++kind) {
    const std::string name(kNames[kind]);
    TRY_OK(set(buckets[kind].average, name, false));
    TRY_OK(set(buckets[kind].burst, name + "-max", false));
    TRY_OK(set(buckets[kind].burst_length, name + "-max-length", true));
  }
  return set(iops_size, "iops-size", false);
}

Result<> ThrottleLimits::check() const {
  const auto mixes = [&](Kind total, Kind read, Kind write, auto member) {
    return buckets[total].*member != 0 &&
           (buckets[read].*member != 0 || buckets[write].*member != 0);
  };
  for (const auto member : {&ThrottleBucket::average, &ThrottleBucket::burst})
    if (mixes(bps_total, bps_read, bps_write, member) ||
        mixes(iops_total, iops_read, iops_write, member))
      return generic(
          "bps/iops/max total values and read/write values cannot be used at the same time");
  if (iops_size != 0 && buckets[iops_total].average == 0 && buckets[iops_read].average == 0 &&
      buckets[iops_write].average == 0)
    return generic("iops size requires an iops value to be set");
  for (const ThrottleBucket& bucket : buckets) {
    if (bucket.burst_length > 1 && bucket.burst == 0)
      return generic("burst length set without burst rate");
    if (bucket.burst != 0 && bucket.burst_length > static_cast<std::uint64_t>(kMost) / bucket.burst)
      return generic("burst length too high for this burst rate");
    if (bucket.burst != 0 && bucket.average == 0)
      return generic("bps_max/iops_max require corresponding bps/iops values");
    if (bucket.burst != 0 && bucket.burst < bucket.average)
      return generic("bps_max/iops_max cannot be lower than bps/iops");
  }
  return ok();
}

Json ThrottleLimits::to_json() const {
  Json json = {{"iops-size", iops_size}};
  for (std::size_t kind = 0; kind < buckets.size(); ++kind) {
    const std::string name(kNames[kind]);
    json[name] = buckets[kind].average;
    json[name + "-max"] = buckets[kind].burst;
    json[name + "-max-length"] = buckets[kind].burst_length;
  }
  return json;
}

void ThrottleGroup::set_limits(const ThrottleLimits& limits) {
  limits_ = limits;
  levels_ = {};
  leaked_at_ = world_.scheduler.now();
  wake_all();
}

void ThrottleGroup::wake_all() {
  for (WaitQueue& queue : queues_) queue.wake_all();
}

void ThrottleGroup::leak() {
  const Instant now = world_.scheduler.now();
  const std::uint64_t elapsed = now.ns - leaked_at_.ns;
  leaked_at_ = now;
  const auto lower = [elapsed](Units& level, std::uint64_t rate) {
    level -= std::min(level, Units{rate} * elapsed);
  };
  for (std::size_t kind = 0; kind < levels_.size(); ++kind) {
    const ThrottleBucket& bucket = limits_.buckets[kind];
    lower(levels_[kind].units, bucket.average);
    if (bucket.burst_length > 1) lower(levels_[kind].burst_units, bucket.burst);
  }
}

// What is above the bucket's rim must leak first.
Duration ThrottleGroup::wait_of(bool is_write) const {
  Units longest = 0;
  const auto consider = [&](Units level, Units rim, std::uint64_t rate) {
    if (level > rim) longest = std::max(longest, (level - rim) / rate);
  };
  for (const bool operations : {false, true})
    for (const ThrottleLimits::Kind kind : kinds_of(is_write, operations)) {
      const ThrottleBucket& bucket = limits_.buckets[kind];
      if (bucket.average == 0) continue;
      const Units rim = bucket.burst == 0 ? Units{bucket.average} * (kBillion / 10)
                                          : Units{bucket.burst} * bucket.burst_length * kBillion;
      consider(levels_[kind].units, rim, bucket.average);
      if (bucket.burst_length > 1)
        consider(levels_[kind].burst_units, Units{bucket.burst} * (kBillion / 10), bucket.burst);
    }
  return {static_cast<std::uint64_t>(std::min<Units>(longest, UINT64_MAX / 2))};
}

void ThrottleGroup::account(bool is_write, std::uint64_t bytes) {
  const bool is_large = limits_.iops_size != 0 && bytes > limits_.iops_size;
  const Units operations = is_large ? Units{bytes} * kBillion / limits_.iops_size : kBillion;
  for (const bool counts_operations : {false, true})
    for (const ThrottleLimits::Kind kind : kinds_of(is_write, counts_operations)) {
      const Units units = counts_operations ? operations : Units{bytes} * kBillion;
      levels_[kind].units += units;
      if (limits_.buckets[kind].burst_length > 1) levels_[kind].burst_units += units;
    }
}

Task<void> ThrottleGroup::admit(bool is_write, std::uint64_t bytes, const bool& passes) {
  const auto direction = static_cast<std::size_t>(is_write);
  while (!passes && is_waiting_[direction]) co_await queues_[direction].wait();
  while (!passes) {
    leak();
    const Duration wait = wait_of(is_write);
    if (wait.ns == 0) break;
    is_waiting_[direction] = true;
    const auto ticket =
        world_.scheduler.after(wait, [this, direction] { queues_[direction].wake_all(); });
    co_await queues_[direction].wait();
    world_.scheduler.cancel(ticket);
    is_waiting_[direction] = false;
  }
  leak();
  account(is_write, bytes);
  queues_[direction].wake_one();
}

// --- groups by name ------------------------------------------------------------------------------

std::shared_ptr<ThrottleGroup> ThrottleGroups::find(const std::string& name) const {
  if (const auto object = objects.find(name); object != objects.end()) return object->second;
  const auto group = made.find(name);
  return group == made.end() ? nullptr : group->second.lock();
}

std::shared_ptr<ThrottleGroup> ThrottleGroups::find_or_make(World& world, const std::string& name) {
  if (auto group = find(name)) return group;
  auto group = std::make_shared<ThrottleGroup>(world);
  made[name] = group;
  return group;
}

}  // namespace sim::block
