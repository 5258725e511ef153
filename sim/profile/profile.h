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
  bool offered = true;       // a machine may speak as it; else only its schema is there

  // --- the monitor ---

  // A value that an enumeration has not: "Invalid parameter 'x'" (5.2) or "Parameter 'sync' does
  // not accept value 'x'" (from 7.2; difference 17).
  bool bad_value_names_parameter = true;

  // --- the node graph ---

  // Two users of a node conflict: "Conflicts with use by …" (5.2) or "Permission conflict on node
  // …" (from 7.2; facts, difference 18).
  bool permission_conflict_names_both = true;
  // The texts of a chain that has no such file: "Base 'x' not found" (5.2), "Can't find 'x' in the
  // backing chain".
  bool missing_base_names_chain = true;
  // A job has been created before it is refused its main node (not in 5.2).
  bool job_comes_before_node = true;
  // Bitmaps are described with a `status` (5.2 only).
  bool bitmaps_have_status = false;
  // A mirror takes note of what is written through its filter (from 10.0), not of all that reaches
  // the source node (difference 14).
  bool mirror_tracks_filter = false;
  // The base of an active layer's commit that failed is as writable as before
  // (from 10.0).
  bool commit_restores_base = false;
  // A read-only node that was streamed into is read-only again (not from 10.0 on).
  bool stream_restores_node = true;
  // A commit writes zeroes of its source as zero clusters (from 10.0) or as data (facts, Bytes).
  bool commit_keeps_zeroes = false;
  // block-stream puts a copy-on-read filter above its node (from 6.0).
  bool stream_has_filter = true;
  // "device=X nor node_name=Y" (5.2) or "device='X' nor node-name='Y'" (difference 16).
  bool lookup_quotes_names = true;
};

// Versions and packages as the greetings say (measured on each).
inline constexpr std::array kProfiles = {
    Profile{.name = "5.2",
            .major = 5,
            .minor = 2,
            .micro = 0,
            .package = "Debian 1:5.2+dfsg-11+deb11u5",
            .offered = false,
            .bad_value_names_parameter = false,
            .permission_conflict_names_both = false,
            .missing_base_names_chain = false,
            .job_comes_before_node = false,
            .bitmaps_have_status = true,
            .stream_has_filter = false,
            .lookup_quotes_names = false},
    Profile{.name = "7.2",
            .major = 7,
            .minor = 2,
            .micro = 22,
            .package = "Debian 1:7.2+dfsg-7+deb12u18+b3"},
    Profile{.name = "10.0",
            .major = 10,
            .minor = 0,
            .micro = 13,
            .package = "Debian 1:10.0.13+ds-0+deb13u1",
            .offered = false,
            .mirror_tracks_filter = true,
            .commit_restores_base = true,
            .stream_restores_node = false,
            .commit_keeps_zeroes = true},
    Profile{.name = "11.1",
            .major = 11,
            .minor = 1,
            .micro = 3,
            .package = "Debian 1:11.1.3+ds-1~bpo13+1",
            .offered = false,
            .mirror_tracks_filter = true,
            .commit_restores_base = true,
            .stream_restores_node = false,
            .commit_keeps_zeroes = true},
};

constexpr const Profile* find_profile(std::string_view name) {
  for (const Profile& profile : kProfiles)
    if (profile.name == name) return &profile;
  return nullptr;
}

}  // namespace sim
