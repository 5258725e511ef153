// A lock manager: who uses which image file, and how.  One is shared by all that may use the same
// files: domains, of which each disk holds the leases of its own chain, and storage pools, which
// know the images that are the base of several (libvir-list, January 2012: "no image is ever
// reverted if the lock manager says a file is in use").

#pragma once

#include <map>
#include <optional>
#include <string>

namespace conformance {

// Ordered: the later allows more, and tolerates fewer.
enum class LeaseMode : unsigned char {
  shared,     // of a backing file: others may hold it like that as well
  exclusive,  // of a file that is written to, or is going to be removed
};

using Leases = std::map<std::string, LeaseMode>;  // by absolute path

struct LeaseConflict {
  std::string file;
  std::string holder;
  friend bool operator==(const LeaseConflict&, const LeaseConflict&) = default;
};

class LockManager {
 public:
  // The leases of `holder` become these and no others; where one of them conflicts, they stay as
  // they are, and the answer is the first such file by name, with the first other holder by name.
  [[nodiscard]] std::optional<LeaseConflict> hold(const std::string& holder, const Leases& leases);

  Leases held_by(const std::string& holder) const;
  const std::map<std::string, Leases>& by_holder() const { return leases_; }

 private:
  std::map<std::string, Leases> leases_;  // by holder; none is empty
};

}  // namespace conformance
