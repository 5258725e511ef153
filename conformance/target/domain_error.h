// libvirt's errors, and what else can go wrong with a target.

#pragma once

#include <expected>
#include <string>
#include <variant>

namespace conformance {

// virErrorPtr, by name: {"QEMU", "INVALID_ARG", "disk 'vdz' not found in domain"}.  `message` is
// without libvirt's leading class text ("invalid argument: ").
struct DomainError {
  std::string domain;  // VIR_FROM_…: "DOMAIN", "QEMU", "STORAGE"
  std::string code;    // VIR_ERR_…: "INVALID_ARG", "OPERATION_INVALID", …
  std::string message;
  friend bool operator==(const DomainError&, const DomainError&) = default;
};

// The target itself went wrong: that is never an answer.
struct TargetFailure {
  enum class Kind : unsigned char {
    crash,    // the hypervisor ended without being told to
    hang,     // it did not answer, or an awaited event did not come, within the limit
    harness,  // we or our surroundings failed: cannot start it, disk full, …
  };
  Kind kind = Kind::harness;
  std::string detail;
};

// What a hypervisor answers with, unless it fails.
template <class T>
using Outcome = std::expected<T, TargetFailure>;

using DomainFailure = std::variant<DomainError, TargetFailure>;

// What a DomainApi call answers with.
template <class T>
using DomainResult = std::expected<T, DomainFailure>;

}  // namespace conformance
