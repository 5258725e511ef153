// Answers that several of libvirt's calls can give, and what a bandwidth does.

#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "conformance/model/domain_model.h"

namespace conformance::model {

inline constexpr std::uint64_t kSignedMax = std::numeric_limits<std::int64_t>::max();
inline constexpr std::uint64_t kMostMebibytes = kSignedMax >> 20;

inline CallPrediction refused(std::string domain, std::string code, std::string message) {
  CallPrediction prediction;
  prediction.refusal = Refusal{std::move(domain), std::move(code), std::move(message)};
  return prediction;
}
inline CallPrediction no_opinion(std::string why) {
  CallPrediction prediction;
  prediction.unknown = std::move(why);
  return prediction;
}
inline CallPrediction unsupported_flags(std::uint32_t flags, std::string_view function) {
  return refused("QEMU", "INVALID_ARG",
                 fmt::format("unsupported flags (0x{:x}) in function {}", flags, function));
}
inline CallPrediction disk_not_found(const std::string& disk) {
  return refused("QEMU", "INVALID_ARG", fmt::format("disk '{}' not found in domain", disk));
}
inline CallPrediction no_job(const std::string& target) {
  return refused("QEMU", "INVALID_ARG",
                 fmt::format("disk {} does not have an active block job", target));
}
// `mirrors`: the job is a copy or an active commit.
inline CallPrediction busy(const std::string& target, bool mirrors) {
  return refused("QEMU", mirrors ? "BLOCK_COPY_ACTIVE" : "OPERATION_UNSUPPORTED",
                 fmt::format("disk '{}' already in active block job", target));
}
inline CallPrediction too_many_mebibytes() {
  return refused("QEMU", "OVERFLOW", fmt::format("bandwidth must be less than {}", kMostMebibytes));
}
inline CallPrediction negative_speed() {
  return refused("NONE", "INTERNAL_ERROR", "argument key 'speed' must not be negative");
}

// What a speed in bytes/s does to a job that has `dirty` bytes to copy.  The limiter lets at
// least one byte through in 100 ms, and the job is not ready before what it has copied is paid.
inline Course course_at(std::uint64_t speed, std::uint64_t dirty) {
  if (speed == 0 || dirty == 0) return Course::ready;
  return dirty / std::max<std::uint64_t>(speed, 10) >= 60 ? Course::held : Course::limited;
}

}  // namespace conformance::model
