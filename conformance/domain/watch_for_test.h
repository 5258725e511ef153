// A domain's leases and labels under watch, and what they must be when no job is there.

#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "conformance/domain/access_order.h"
#include "conformance/target/domain_api.h"

namespace conformance::testing {

struct Watch {
  LockManager locks;
  RememberedLabels labels;
  AccessOrder order;  // the domain's hypervisor, and its labels

  Watch(Hypervisor& hypervisor, const Files& files) : order(hypervisor, labels, files, &locks) {}

  DomainDefinition over(DomainDefinition definition) {
    definition.locks = &locks;
    definition.labels = &order;
    return definition;
  }

  // The disk has no job: its chain's images are what is held, and no others.
  void expect_only_the_chain(DomainApi& domain, const std::string& disk = "vda") const {
    Leases leases;
    LabelledFiles labelled;
    const auto chain = domain.chain(disk);
    ASSERT_TRUE(chain);
    for (const ChainLink& link : chain->links) {
      leases.try_emplace(link.path, leases.empty() ? LeaseMode::exclusive : LeaseMode::shared);
      labelled.try_emplace(link.path, labelled.empty() ? Label::read_write : Label::read_only);
    }
    EXPECT_EQ(locks.held_by("domain/" + disk), leases);
    EXPECT_EQ(labels.set_by("domain/" + disk), labelled);
  }
  void expect_order() const { EXPECT_EQ(order.complaints(), std::vector<std::string>()); }
};

}  // namespace conformance::testing
