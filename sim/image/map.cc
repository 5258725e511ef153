#include "sim/image/map.h"

#include <optional>

namespace sim::image {

static bool continues(const MapEntry& entry, const MapEntry& next) {
  return entry.layer == next.layer && entry.present == next.present && entry.zero == next.zero &&
         entry.data == next.data && entry.placed == next.placed &&
         (!entry.placed || entry.offset + entry.length == next.offset);
}

Task<Result<>> map(Layer& top, std::uint64_t start, std::uint64_t end,
                   std::function<bool(const MapEntry&)> entry) {
  MapEntry pending{};
  while (start < end) {
    std::optional<ChainStatus> found = known_status_above(top, nullptr, start, end - start);
    if (!found) {
      CO_TRY(found, co_await status_of_chain(top, start, end - start));
    }
    const Status& status = found->status;
    const MapEntry next{.start = start,
                        .length = status.length,
                        .depth = found->depth,
                        .present = status.allocated,
                        .zero = status.zero,
                        .data = status.data,
                        .placed = status.placed,
                        .offset = status.offset,
                        .layer = found->layer};
    start += status.length;
    if (pending.length > 0 && continues(pending, next)) {
      pending.length += next.length;
      continue;
    }
    if (pending.length > 0 && !entry(pending)) co_return ok();
    pending = next;
  }
  if (pending.length > 0) (void)entry(pending);
  co_return ok();
}

}  // namespace sim::image
