#include "conformance/target/leases.h"

namespace conformance {

std::optional<LeaseConflict> LockManager::hold(const std::string& holder, const Leases& leases) {
  for (const auto& [file, mode] : leases)
    for (const auto& [other, held] : leases_) {
      const auto found = held.find(file);
      if (other == holder || found == held.end()) continue;
      if (mode == LeaseMode::exclusive || found->second == LeaseMode::exclusive)
        return LeaseConflict{file, other};
    }
  if (leases.empty())
    leases_.erase(holder);
  else
    leases_[holder] = leases;
  return std::nullopt;
}

Leases LockManager::held_by(const std::string& holder) const {
  const auto found = leases_.find(holder);
  return found == leases_.end() ? Leases() : found->second;
}

}  // namespace conformance
