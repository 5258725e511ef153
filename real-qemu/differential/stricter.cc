#include "real-qemu/differential/stricter.h"

#include <algorithm>

namespace differential {

const std::vector<StricterRule>& stricter_rules() {
  static const std::vector<StricterRule> all = {
      {"must lie beneath the directory of the image", "which is outside of it"},
      {"names inside an image are refused", "only names of files are followed", true},
      {"whose format the image does not record", "does not say which format"},
      {"whose format the image does not record", "has no recorded format"},
      {"that is twice in a chain", "is in its own chain", true},
      {"Only regular files are opened", "not a regular file", true},
      {"whose iterations exceed", "iterations"},
      {"must begin in the file", "beyond the end of the file"},
      {"may not name more L2 tables than the file has clusters", "more than the file has clusters"},
      {"do not wrap around at 32 bits", "overlapping with", true},
      {"Tables and bits of bitmaps must begin within the file", "beyond the end of the file"},
      {"Bitmap tables take at most", "Bitmap tables take", true},
      {"A check ends with an error after", "counts", true},
  };
  return all;
}

bool agrees(std::string_view question, const Ran& ours, int theirs, bool lax) {
  // check: 0 clean, 3 leaks and 2 corrupt are findings; anything else is a refusal.
  const auto accepted = [&](int code) {
    return code == 0 || (question == "check" && (code == 2 || code == 3));
  };
  if (question == "check" && accepted(ours.code) && accepted(theirs)) return ours.code == theirs;
  if (accepted(ours.code) == accepted(theirs)) return true;
  return !accepted(ours.code) &&
         std::ranges::any_of(stricter_rules(), [&](const StricterRule& rule) {
           return (rule.always || !lax) && ours.err.find(rule.refusal) != std::string::npos;
         });
}

}  // namespace differential
