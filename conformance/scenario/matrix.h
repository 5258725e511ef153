// The matrix of a scenario file: axes, their values, rules; expanded to one draft per combination.
//
// For each combination, in this order:
//   1. rules with "omit", from the top: the axes they name are dropped; a rule whose "when" names a
//      dropped axis does not match;
//   2. the other rules, from the top: the first "exclude" that matches leaves the combination out;
//      the others, "omit" rules included, are kept;
//   3. variables, images, disks and parts of the chosen fragments, in axis order, then what the
//   kept
//      rules override, from the top;
//   4. every {"part": name} in the steps is replaced, then every variable.
// Combinations that differ in dropped axes only are one.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conformance/scenario/first_error.h"
#include "conformance/scenario/scenario.h"

namespace conformance {

inline constexpr std::size_t kCombinationsMax = 100'000;

// A piece of the file and its JSON pointer.
struct Placed {
  Json value;
  std::string place;
};

// One scenario, still JSON, without a matrix or variables.
struct Draft {
  std::string id;
  std::string title;
  std::string because;
  std::map<std::string, Placed> images;
  std::vector<Placed> disks;
  std::optional<std::vector<Placed>> leases = {};
  std::vector<Placed> steps;
  bool persistent = false;
  std::string recipe = "blockdev";
  std::string since;
  std::string dialect;
  std::string files = "bytes";
};

struct Expansion {
  std::vector<Draft> drafts;  // the last axis turns fastest
  std::vector<Excluded> excluded;
};

// `document` is valid by the schema.  Without a matrix there is one draft, whose id is `id`.
InputResult<Expansion> expand(const Json& document, const std::string& id, const std::string& file);

}  // namespace conformance
