// What a mirror job does to its destination: the granule rule (docs/model.md, 1.4).
//
// A MirrorRun is one job, and a value.  It is told when the source has changed and says at each
// moment what the destination may be.  It knows nothing of libvirt.

#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "conformance/model/layer.h"

namespace conformance::model {

enum class Sync : std::uint8_t { full, top, none };

struct MirrorOptions {
  Sync sync = Sync::full;
  unsigned layers = 1;            // of the source, that sync=top copies (an active commit: more)
  std::uint64_t granularity = 0;  // 0: the default, from the destination's cluster
  // The destination's header names a backing file.  If its node has none attached, the job reads
  // whole destination clusters from the source, and nothing it zeroes may stay absent.
  bool header_backing = false;
};

// clamp(cluster of the destination, 4 KiB, 64 KiB); raw: 64 KiB.
std::uint64_t default_granularity(const Layer& destination);

class MirrorRun {
 public:
  MirrorRun() = default;
  // `source` is the chain to copy, `attached` what hangs under the destination's node during the
  // job, both top first.  The destination's size must equal the source's.
  // An active commit's destination is in the source as well.
  MirrorRun(const MirrorOptions& options, const LayerChain& source, const Layer& destination,
            const LayerChain& attached);

  std::uint64_t granularity() const { return granularity_; }
  // Bytes that were to be copied at the start, in whole granules: the `len` of READY in 7.2.
  std::uint64_t dirty_at_start() const { return dirty_at_start_; }
  // Those of them that are surely not zeroes.
  std::uint64_t data_at_start() const { return data_at_start_; }

  // The guest has changed a range of the source, which now is `source`.
  void source_changed(const LayerChain& source, const LayerChain& attached, std::uint64_t offset,
                      std::uint64_t length);
  // The same of a job with copy-mode write-blocking: `change`, which has been done to the source,
  // is done to the destination at once, and to nothing but its own range there.
  using Change = std::function<void(Layer& layer, const LayerChain& below, std::uint64_t offset,
                                    std::uint64_t length)>;
  void written_through(const LayerChain& source, const LayerChain& attached, std::uint64_t offset,
                       std::uint64_t length, const Change& change);
  // Everything dirty has been copied: READY, and from now on every change is copied in the end.
  void synced(const LayerChain& source, const LayerChain& attached);

  // The destination if the job were ended now.  After synced(): what a completion leaves, with
  // all of the source so far.  Before: what an interruption may leave.
  const Layer& destination() const { return current_; }

 private:
  struct Copy;  // one pass over dirty granules
  void mark_allocated(const Layer& layer);
  void remember_zeroes(const LayerChain& source, const std::vector<bool>& granules);
  void merge_late_reads(const LayerChain& source, const std::vector<bool>& granules);
  std::vector<bool> touched(std::uint64_t offset, std::uint64_t length) const;
  std::vector<bool> with_pending(const std::vector<bool>& granules) const;
  void copy(Layer& onto, const LayerChain& source, const LayerChain& attached,
            const std::vector<bool>& dirty) const;

  MirrorOptions options_;
  std::uint64_t granularity_ = 65536;
  std::uint64_t dirty_at_start_ = 0;
  std::uint64_t data_at_start_ = 0;
  bool synced_ = false;
  bool through_ = false;        // written_through() was called before synced()
  std::vector<bool> dirty_;     // by granule: ever dirty
  std::vector<bool> pending_;   // dirty since synced(), or since the start, and perhaps not copied
  std::vector<bool> was_zero_;  // known to be zero at some time since it became pending
  std::vector<bool> was_data_;  // a request for it may have been started as one for data
  Layer initial_{Format::raw, 0};  // and what was written through to places that were not dirty
  Layer current_{Format::raw, 0};
  Layer whole_{Format::raw, 0};  // everything dirty has been copied, before or after what changed
};

}  // namespace conformance::model
