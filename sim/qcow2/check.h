// Checking the whole of an image, and repairing it: counts are recounted from the mappings.
//
// Works on the file, not on an open Image: nothing may have it open for writing meanwhile.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::qcow2 {

enum class Repair : unsigned char { none, leaks, all };

struct CheckOptions {
  Repair repair = Repair::none;
  // Given each finding, one line without a line feed, in QEMU's words, as it is made.
  std::function<void(std::string_view)> finding = {};
};

// qemu-img's ImageCheck (QAPI): the numbers after the last pass.
struct CheckResult {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
  std::uint64_t check_errors = 0;  // what could not be looked at
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t image_end_offset = 0;
  std::uint64_t total_clusters = 0;
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
};

// An Error only if the check could not be done at all (header, unreadable tables that it needs).
// A repair that ends with no corruption left gives an image whose next check is clean, and never
// more than doubles the file.
Task<Result<CheckResult>> check(std::shared_ptr<storage::Storage> file, CheckOptions options);

}  // namespace sim::qcow2
