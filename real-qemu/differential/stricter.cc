#include "real-qemu/differential/stricter.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace differential {

namespace {

// A rule of docs/stricter-than-qemu.md and the images it makes us refuse: names, or beginnings of
// names that end in '*'.
struct Rule {
  std::string_view image;
  std::string_view reason;
};

// Refused, where qemu-img goes on.
constexpr std::array<Rule, 1> kStricter = {{
    {"name_absolute", "names outside"},
}};

bool listed(const std::string& image) {
  return std::ranges::any_of(kStricter, [&](const Rule& rule) {
    return rule.image.ends_with('*')
               ? image.starts_with(rule.image.substr(0, rule.image.size() - 1))
               : image == rule.image;
  });
}

}  // namespace

bool agrees(const std::string& image, const std::string& question, int ours, int theirs, bool lax) {
  // check: 0 clean, 3 leaks and 2 corrupt are findings; anything else is a refusal.
  const auto accepted = [&](int code) {
    return code == 0 || (question == "check" && (code == 2 || code == 3));
  };
  if (question == "check" && accepted(ours) && accepted(theirs)) return ours == theirs;
  if (accepted(ours) == accepted(theirs)) return true;
  return !lax && !accepted(ours) && listed(image);
}

}  // namespace differential
