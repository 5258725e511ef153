// Random sequences of API calls on up to three disks, with the guest's I/O in between.
//
// A case is a plan: what it means depends on what the model says at that point.  A call on which
// the model has no opinion is left out, and a job that nothing holds is waited for at once.

#pragma once

#include <rapidcheck/Gen.h>

#include <optional>
#include <string>
#include <vector>

#include "conformance/property/case.h"
#include "conformance/scenario/scenario.h"

namespace conformance::property {

struct PlannedAction {
  enum class Kind : unsigned char {
    pull,
    rebase,
    commit,
    copy,
    copy_by_document,
    abort,
    release,
    snapshot,
    delete_snapshot,
    revert,
    guest,
    check
  };
  enum class Spelling : unsigned char { path, name, index };
  Kind kind = Kind::guest;
  unsigned disk = 0;  // the how manieth, counted around
  // Images of the disk's live chain at that time, 0 is the active one; beyond its end: null of
  // even numbers, a name that is not there of odd ones.
  unsigned base = 0;
  unsigned top = 0;
  Spelling spelling = Spelling::path;
  std::vector<std::string> flags;
  bool held = false;        // a bandwidth of 1 byte/s
  std::string destination;  // of a copy: a file's name
  // Of a copy by document: its format and what lies beneath, whose files are names, too.
  CopyDestination document;
  std::uint32_t granularity = 0;
  std::string snapshot;            // its name
  std::vector<std::string> modes;  // of a snapshot, of each disk; empty: the disk is not named
  GuestStep guest;
};

struct DomainCase {
  std::vector<Image> images;         // backing images before those that use them
  std::vector<std::string> actives;  // the images of vda, vdb, …
  std::vector<PlannedAction> actions;
  std::optional<std::vector<OtherLease>> leases = {};
  CopyRecipe recipe = CopyRecipe::blockdev;
};

// The id is "explore/domain".
PlannedScenario to_scenario(const DomainCase& drawn);

// Up to three disks over chains of one to five images, sometimes with images in common; up to ten
// actions, snapshots among them; half of them with a lock manager, and others who read an image; a
// third with the recipe `drive`.
rc::Gen<DomainCase> domain_cases();

// All ways to take one thing away or to make it plainer.
std::vector<DomainCase> smaller(const DomainCase& from);

}  // namespace conformance::property
