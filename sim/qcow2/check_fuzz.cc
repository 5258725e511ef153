// Any bytes as a qcow2 file: checked, repaired, and checked again.  A repair that says that nothing
// is wrong any more leaves an image whose next check is clean, in a file that is at most twice as
// long.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "sim/base/check.h"
#include "sim/qcow2/check.h"
#include "sim/storage/memory.h"

namespace {

using sim::qcow2::CheckResult;
using sim::qcow2::Repair;

bool is_clean(const sim::Result<CheckResult>& result) {
  return result.ok() && result->corruptions == 0 && result->check_errors == 0;
}

void repair(sim::Bytes bytes, Repair how) {
  sim::World world(1);
  auto file = std::make_shared<sim::storage::MemoryFile>();
  file->write_now(0, bytes);
  const auto before = sim::run(world, sim::qcow2::check(file, {}));
  CHECK(file->size() == bytes.size(), "a check changes nothing");
  const auto repaired = sim::run(world, sim::qcow2::check(file, {.repair = how}));
  CHECK(file->size() <= 2 * bytes.size(), "a repair never more than doubles the file");
  if (!is_clean(repaired)) return;
  const auto after = sim::run(world, sim::qcow2::check(file, {}));
  CHECK(is_clean(after), "a repaired image is clean");
  CHECK(how != Repair::all || repaired->leaks != 0 || after->leaks == 0, "and has no leaks");
  (void)before;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const sim::Bytes bytes = std::as_bytes(std::span(data, size));
  repair(bytes, Repair::leaks);
  repair(bytes, Repair::all);
  return 0;
}
