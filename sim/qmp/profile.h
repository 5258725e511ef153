// Which QEMU release the simulator speaks as: a row of named behaviours for each.

#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace sim::qmp {

struct Profile {
  std::string_view name;     // as users write it: "7.2"
  int major, minor, micro;   // what query-version says
  std::string_view package;  // the distribution's build that the behaviours were measured on
};

// Only releases whose behaviour is there; others are asked for in vain.
inline constexpr std::array kProfiles = {
    Profile{"7.2", 7, 2, 22, "Debian 1:7.2+dfsg-7+deb12u18+b3"},
};

constexpr const Profile* find_profile(std::string_view name) {
  for (const Profile& profile : kProfiles)
    if (profile.name == name) return &profile;
  return nullptr;
}

}  // namespace sim::qmp
