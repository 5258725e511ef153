// The simulator's files when requests may fail and the power may be cut.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/target/target.h"
#include "sim/storage/faults.h"
#include "sim/storage/memory.h"
#include "sim/storage/power_cut.h"

namespace conformance {

// In front of `files`, which must outlive it and may be changed past it before the machine starts.
class HazardousFiles final : public sim::storage::FileSystem {
 public:
  explicit HazardousFiles(sim::storage::MemoryFiles& files) : files_(files) {}

  // Of the requests to the file at this path, in all its uses from now on.
  void inject(const FileFault& fault);
  // Every file becomes what a power cut leaves of it, as the seed draws; whatever is still done
  // through this object fails.
  sim::Result<> cut_power(std::uint64_t seed);

  sim::Result<std::shared_ptr<sim::storage::Storage>> open(const std::string& path,
                                                           sim::storage::Access access) override;
  sim::Result<std::shared_ptr<sim::storage::Storage>> create(const std::string& path) override;
  bool exists(const std::string& path) const override { return files_.exists(path); }
  sim::Result<> remove(const std::string& path) override { return files_.remove(path); }
  sim::Result<> rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  sim::Result<std::string> canonical(const std::string& path) const override {
    return files_.canonical(path);
  }
  std::vector<std::string> list(const std::string& directory) const override {
    return files_.list(directory);
  }

 private:
  struct Hazards {
    std::shared_ptr<sim::storage::MemoryFile> file;  // whose they are
    std::shared_ptr<sim::storage::PowerCut> power;
  };
  std::shared_ptr<sim::storage::Storage> guarded(const std::string& path);
  sim::storage::FaultPlan& plan(const std::string& path);

  sim::storage::MemoryFiles& files_;
  std::map<std::string, Hazards> hazards_;
  std::map<std::string, std::shared_ptr<sim::storage::FaultPlan>> plans_;
};

}  // namespace conformance
