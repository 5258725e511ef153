#include "conformance/run/guest_io.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace conformance {

using enum GuestStep::Operation;

GuestResult<void> request(Guest& guest, const GuestStep& step) {
  switch (step.operation) {
    case write:
      return guest.write(step.offset, step.length, step.pattern);
    case zero:
      return guest.write_zeroes(step.offset, step.length);
    case discard:
      return guest.discard(step.offset, step.length);
    case flush:
    case read:
      break;
  }
  return guest.flush();
}

void tell(model::DomainModel& model, const GuestStep& step) {
  switch (step.operation) {
    case write:
      return model.guest_write(step.disk, step.offset, step.length, step.pattern);
    case zero:
      return model.guest_zero(step.disk, step.offset, step.length);
    case discard:
      return model.guest_discard(step.disk, step.offset, step.length);
    case flush:
    case read:
      return;
  }
}

std::string doing(const GuestStep& step) {
  constexpr std::array kNames = {"a write", "a zero write", "a discard", "a flush", "a read"};
  return kNames[static_cast<std::size_t>(step.operation)];
}

FileFault to_fault(const FaultStep& step, std::string path) {
  constexpr std::array<std::string_view, 5> kNames = {"read", "write", "discard", "flush", "grow"};
  FileFault fault{.path = std::move(path), .nth = step.nth, .lasting = step.lasting};
  fault.operation =
      static_cast<FileFault::Operation>(std::ranges::find(kNames, step.op) - kNames.begin());
  if (step.number == "ENOSPC") fault.number = ENOSPC;
  return fault;
}

}  // namespace conformance
