// The tables against what QEMU 7.2 was seen to do: a job in each status was sent each verb.

#include "sim/job/rules.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace sim::job {
namespace {

// Verbs that QEMU 7.2 refused with "Job 'm' in state 'S' cannot accept command verb 'V'", by
// status; all others that were tried were accepted, or refused for another reason.  (resume when
// pending or concluded is QAPI's; QEMU refuses it earlier, because nothing was paused.)
struct Measured {
  Status status;
  std::set<Verb> refused;
};

const std::vector<Measured> kMeasured = {
    {Status::running, {Verb::complete, Verb::finalize, Verb::dismiss}},
    {Status::paused, {Verb::complete, Verb::finalize, Verb::dismiss}},
    {Status::ready, {Verb::finalize, Verb::dismiss}},
    {Status::standby, {Verb::finalize, Verb::dismiss}},
    {Status::pending,
     {Verb::complete, Verb::dismiss, Verb::pause, Verb::resume, Verb::set_speed, Verb::change}},
    {Status::concluded,
     {Verb::complete, Verb::finalize, Verb::pause, Verb::resume, Verb::cancel, Verb::set_speed,
      Verb::change}},
};

TEST(Rules, VerbsAreRefusedAsMeasured) {
  for (const auto& [status, refused] : kMeasured)
    for (std::size_t verb = 0; verb < kVerbNames.size(); ++verb)
      EXPECT_EQ(kRules.accepts(static_cast<Verb>(verb), status),
                !refused.contains(static_cast<Verb>(verb)))
          << kVerbNames[verb] << " in " << name_of(status);
}

TEST(Rules, NothingIsAcceptedWhereThereIsNoJob) {
  for (std::size_t verb = 0; verb < kVerbNames.size(); ++verb)
    for (const Status status : {Status::undefined, Status::null})
      EXPECT_FALSE(kRules.accepts(static_cast<Verb>(verb), status)) << kVerbNames[verb];
}

// The statuses that JOB_STATUS_CHANGE told of, one life a line.
const std::vector<std::vector<Status>> kLives = {
    // stream, backup, create
    {Status::created, Status::running, Status::waiting, Status::pending, Status::concluded,
     Status::null},
    // mirror, completed
    {Status::created, Status::running, Status::ready, Status::waiting, Status::pending,
     Status::concluded, Status::null},
    // cancelled before READY, or failed
    {Status::created, Status::running, Status::aborting, Status::concluded, Status::null},
    // cancelled by force when READY
    {Status::created, Status::running, Status::ready, Status::aborting, Status::concluded},
    // cancelled while pending
    {Status::created, Status::running, Status::ready, Status::waiting, Status::pending,
     Status::aborting, Status::concluded, Status::null},
    // paused, and paused when READY
    {Status::created, Status::running, Status::paused, Status::running, Status::ready,
     Status::standby, Status::ready, Status::waiting},
    // its target cannot be used
    {Status::created, Status::null},
};

TEST(Rules, EveryMeasuredLifeIsAllowed) {
  for (const auto& life : kLives) {
    EXPECT_TRUE(kRules.next(Status::undefined, life.front()));
    for (std::size_t i = 1; i < life.size(); ++i)
      EXPECT_TRUE(kRules.next(life[i - 1], life[i]))
          << name_of(life[i - 1]) << " -> " << name_of(life[i]);
  }
}

TEST(Rules, WhatNoLifeShowsIsForbidden) {
  for (const auto& [from, to] :
       {std::pair{Status::ready, Status::running}, std::pair{Status::running, Status::pending},
        std::pair{Status::running, Status::concluded}, std::pair{Status::paused, Status::ready},
        std::pair{Status::standby, Status::running}, std::pair{Status::waiting, Status::concluded},
        std::pair{Status::pending, Status::waiting}, std::pair{Status::concluded, Status::running},
        std::pair{Status::concluded, Status::aborting}, std::pair{Status::null, Status::created},
        std::pair{Status::aborting, Status::null}, std::pair{Status::undefined, Status::running}})
    EXPECT_FALSE(kRules.next(from, to)) << name_of(from) << " -> " << name_of(to);
}

TEST(Rules, NamesAreQapis) {
  EXPECT_EQ(name_of(Status::standby), "standby");
  EXPECT_EQ(name_of(Status::null), "null");
  EXPECT_EQ(name_of(Verb::set_speed), "set-speed");
  EXPECT_EQ(name_of(Verb::dismiss), "dismiss");
}

}  // namespace
}  // namespace sim::job
