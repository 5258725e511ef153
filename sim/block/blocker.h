// Operations that a user of a node forbids to others while it lasts (QEMU: op blockers).

#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace sim::block {

enum class Op : std::uint8_t {
  backup_source,
  backup_target,
  change,
  commit_source,
  commit_target,
  dataplane,
  drive_del,
  eject,
  external_snapshot,
  internal_snapshot,
  internal_snapshot_delete,
  mirror_source,
  mirror_target,
  resize,
  stream,
  replace,
};

// A set of operations.
class Ops {
 public:
  constexpr Ops() = default;
  static constexpr Ops all() { return Ops(0xffff); }
  constexpr Ops without(Op op) const { return Ops(bits_ & ~bit(op)); }
  constexpr Ops with(Op op) const { return Ops(bits_ | bit(op)); }
  constexpr bool has(Op op) const { return (bits_ & bit(op)) != 0; }

 private:
  constexpr explicit Ops(unsigned bits) : bits_(bits) {}
  static constexpr unsigned bit(Op op) { return 1U << static_cast<unsigned>(op); }
  unsigned bits_ = 0;
};

// One reason, for any number of nodes: "block device is in use by block job: mirror".
using Reason = std::shared_ptr<const std::string>;

struct Blocker {
  Reason reason;
  Ops ops;
};

}  // namespace sim::block
