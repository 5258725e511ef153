// Which QEMU release the simulator speaks as: a row of named behaviours for each.
//
// A cell is a behaviour that differs between releases, named by what it does; its comment says
// where it was seen.  Code asks for cells, never for version numbers.

#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace sim {

struct Profile {
  std::string_view name;     // as users write it: "7.2"
  int major, minor, micro;   // what query-version says
  std::string_view package;  // the distribution's build that the behaviours were measured on

  // --- the node graph ---

  // Two users of a node conflict: "Conflicts with use by …" (5.2) or "Permission conflict on node
  // …" (from 7.2; facts, difference 18).
  bool permission_conflict_names_both = true;
  // A commit writes zeroes of its source as zero clusters (from 10.0) or as data (facts, Bytes).
  bool commit_keeps_zeroes = false;
  // block-stream puts a copy-on-read filter above its node (from 6.0).
  bool stream_has_filter = true;
  // "device=X nor node_name=Y" (5.2) or "device='X' nor node-name='Y'" (difference 16).
  bool lookup_quotes_names = true;
};

// Only releases whose behaviour is there; others are asked for in vain.
inline constexpr std::array kProfiles = {
    Profile{.name = "7.2",
            .major = 7,
            .minor = 2,
            .micro = 22,
            .package = "Debian 1:7.2+dfsg-7+deb12u18+b3"},
};

constexpr const Profile* find_profile(std::string_view name) {
  for (const Profile& profile : kProfiles)
    if (profile.name == name) return &profile;
  return nullptr;
}

}  // namespace sim
