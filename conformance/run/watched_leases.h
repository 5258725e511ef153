// A scenario's lock manager and labels, and whether what a domain holds of them is right.

#pragma once

#include <string>
#include <vector>

#include "conformance/domain/access_order.h"
#include "conformance/model/domain_model.h"
#include "conformance/scenario/scenario.h"
#include "conformance/target/files.h"
#include "conformance/verdict/verdict.h"

namespace conformance {

class WatchedLeases {
 public:
  // `others` hold their leases for as long as this lives.
  WatchedLeases(const std::vector<OtherLease>& others, Hypervisor& hypervisor, const Files& files);

  LockManager& locks() { return locks_; }
  // The domain's hypervisor and labels.
  AccessOrder& order() { return order_; }

  // The disk's leases and labels beside what the model says, and what was done in a wrong order
  // since the last time.
  std::vector<Divergence> compare(const std::string& disk, const model::DomainModel& model);

 private:
  std::string directory_;
  LockManager locks_;
  RememberedLabels labels_;
  AccessOrder order_;
  std::size_t told_ = 0;  // complaints
};

}  // namespace conformance
