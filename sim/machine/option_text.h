// The two ways in which QEMU's command line writes options.
//
// `-blockdev`, `-compat`: "driver=raw,file.driver=file,file.filename=a,,b" makes a tree (keyval).
// `-chardev`, `-device`, …: "socket,id=m,path=p,server" makes a list.  In both a comma within a
// value is doubled.  Texts are measured on 5.2 to 11.1
// (real-qemu/differential/command_line_test.cc).

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::machine {

// Values are strings.  A first value without a key has `implied`, if that is not empty.
Result<Json> read_keyval(std::string_view text, std::string_view implied);

class OptionList {
 public:
  // "x" alone means x=on, "nox" x=off: such are in `short_forms`, as "x=on".
  static OptionList read(std::string_view text, std::string_view implied);

  // The last value of that name; nothing if it is not there.
  std::optional<std::string> find(std::string_view name) const;
  // "on" or "off"; "Parameter 'x' expects 'on' or 'off'".
  Result<bool> flag(std::string_view name, bool otherwise) const;
  // The first that is none of `known`: "Invalid parameter 'x'".
  Result<> check_names(std::initializer_list<std::string_view> known) const;
  // "id": letters, digits and "-._" behind a letter.
  Result<> check_id() const;
  Json to_json() const;

  std::vector<std::pair<std::string, std::string>> options;
  std::vector<std::pair<std::string, std::string>> short_forms;  // ("nowait", "wait=off")
};

}  // namespace sim::machine
