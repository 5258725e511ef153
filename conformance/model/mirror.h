// What a mirror job does to its destination: the granule rule (facts: 1.4).
//
// A MirrorRun is one job.  It is told when the source has changed and says at each moment what the
// destination may be.  It knows nothing of libvirt.

#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "conformance/model/layer.h"

namespace conformance::model {

enum class Sync : std::uint8_t { full, top, none };

struct MirrorOptions {
  Sync sync = Sync::full;
  std::uint64_t granularity = 0;  // 0: the default, from the destination's cluster
  // The destination's header names a backing file but its node has none attached: the job then
  // reads whole destination clusters from the source, and nothing may stay absent.
  bool header_backing = false;
  // The layers attached under the destination's node during the job, top first.  Not owned.
  LayerChain attached;
};

// clamp(cluster of the destination, 4 KiB, 64 KiB); raw: 64 KiB.
std::uint64_t default_granularity(const Layer& destination);

class MirrorRun {
 public:
  MirrorRun() = default;
  // The destination's size must equal the source's.
  MirrorRun(const MirrorOptions& options, const LayerChain& source, const Layer& destination);

  bool anything_dirty() const { return !dirty_.empty(); }
  std::uint64_t granularity() const { return granularity_; }

  // The guest has changed a range of the source, which now is `source`.
  void source_changed(const LayerChain& source, std::uint64_t offset, std::uint64_t length);
  // Everything dirty has been copied.
  void synced(const LayerChain& source);

  // The destination if the job were ended now: after synced(), what a completion leaves (all of
  // the source so far); before, what an interruption may leave.
  const Layer& destination() const { return current_; }

 private:
  void copy_dirty(Layer& onto, const LayerChain& source) const;

  MirrorOptions options_;
  std::uint64_t granularity_ = 65536;
  bool synced_ = false;
  std::set<std::uint64_t> dirty_;  // granule numbers ever dirty since the start, or since synced()
  Layer initial_{Format::raw, 0};
  Layer current_{Format::raw, 0};
};

}  // namespace conformance::model
