#include "conformance/run/hazards.h"

#include "sim/world/world.h"

namespace conformance {

using sim::Result;
using sim::storage::Operation;
using sim::storage::Storage;

sim::storage::FaultPlan& HazardousFiles::plan(const std::string& path) {
  auto& plan = plans_[path];
  if (!plan) plan = std::make_shared<sim::storage::FaultPlan>();
  return *plan;
}

void HazardousFiles::inject(const FileFault& fault) {
  using enum FileFault::Operation;
  Operation operation = Operation::write;
  switch (fault.operation) {
    case read:
      operation = Operation::read;
      break;
    case write:
      break;
    case discard:
      operation = Operation::discard;
      break;
    case flush:
      operation = Operation::flush;
      break;
    case grow:
      operation = Operation::resize;
      break;
  }
  plan(fault.path)
      .add({.operation = operation,
            .nth = fault.nth,
            .number = fault.number,
            .lasting = fault.lasting});
}

Result<> HazardousFiles::cut_power(std::uint64_t seed) {
  sim::World world(seed);
  for (auto& [path, hazards] : hazards_) {
    TRY_OK(sim::run(world, hazards.power->cut(world.rng)));
    for (const Operation operation : {Operation::read, Operation::write, Operation::discard,
                                      Operation::flush, Operation::resize})
      plan(path).add({.operation = operation, .lasting = true});
  }
  return sim::ok();
}

// All uses of one file share one filter: a cut concerns the file, not a handle.
std::shared_ptr<Storage> HazardousFiles::guarded(const std::string& path) {
  Hazards& hazards = hazards_[path];
  if (const auto file = files_.find(path); hazards.file != file)
    hazards = {file, std::make_shared<sim::storage::PowerCut>(file)};
  plan(path);
  return std::make_shared<sim::storage::Faults>(hazards.power, plans_[path]);
}

Result<std::shared_ptr<Storage>> HazardousFiles::open(const std::string& path,
                                                      sim::storage::Access access) {
  TRY_OK(files_.open(path, access));
  std::shared_ptr<Storage> file = guarded(path);
  if (access == sim::storage::Access::read_only)
    return std::shared_ptr<Storage>(std::make_shared<sim::storage::ReadOnly>(std::move(file)));
  return file;
}

// A file that is made anew is there, and empty, after a cut.
Result<std::shared_ptr<Storage>> HazardousFiles::create(const std::string& path) {
  TRY_OK(files_.create(path));
  hazards_.erase(path);
  return guarded(path);
}

}  // namespace conformance
