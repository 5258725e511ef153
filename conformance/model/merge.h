// What merging layers of one chain leaves behind: pull and commit (docs/model.md, 1.6).

#pragma once

#include <cstdint>

#include "conformance/model/layer.h"

namespace conformance::model {

// What a pull leaves in `active`: each cluster that is Absent there and not in all layers `between`
// (top first; they are what goes away) holds what the disk shows there.  `below`: the base, which
// stays, and all beneath it; empty if everything is pulled.
Layer pulled(const Layer& active, const LayerChain& between, const LayerChain& below);

// What an increment of a pull leaves in `active`: each cluster that it touches and that is Absent
// holds what the disk shows there.  `below`: all layers beneath.  Unlike pulled() it fills places
// that are Absent everywhere, too: they are then zeroes of the active layer's own.
Layer increment_pulled(const Layer& active, const LayerChain& below, std::uint64_t offset,
                       std::uint64_t length);

// Whether a speed of a few bytes/s surely keeps a job from its end that goes through a disk of
// `size` bytes and copies what is not Absent in all of `layers`, and is Absent in `own` if
// that is given: it does one stretch, and then sleeps.
bool surely_sleeps(const Layer* own, const LayerChain& layers, std::uint64_t size);
// Whether it surely has nothing to copy.
bool surely_idle(const LayerChain& layers);

// A layer that commit makes at least `size` long before it writes to it; what it gets reads as zero
// even where a layer `below` it is that long.
Layer grown(const Layer& base, const LayerChain& below, std::uint64_t size);

// What a commit of the layers `from` (top first) leaves in `base`, over the layers `below` it: the
// value of the topmost layer that is not Absent.  Where all of them are, base is not touched but by
// the copy on write of its own clusters.
Layer committed(const LayerChain& from, const Layer& base, const LayerChain& below);

// The base, which has grown, when the commit has begun: of a cluster to which a part has been
// written the rest may be filled up with what the base showed, and not be written to yet.
Layer begun(const LayerChain& from, const Layer& base, const LayerChain& below);

}  // namespace conformance::model
