// A QMP command, declared once: from it come the validation of arguments, in QEMU's words, and what
// query-commands lists.

#pragma once

#include <span>
#include <string_view>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::qmp {

enum class Type : unsigned char {
  string,
  boolean,
  integer,  // int: a signed 64-bit number
  uint32,
  object,
  array,
  whatever,  // checked by the command itself (unions)
};

enum class Presence : bool { optional, required };

struct Argument {
  std::string_view name;
  Type type;
  Presence presence = Presence::optional;
  std::string_view values = {};  // of an enumeration: "full|top|none"
};

struct Declaration {
  std::string_view name;
  std::span<const Argument> arguments;
  bool takes_anything =
      false;  // the command checks its arguments itself (blockdev-add, device_add)
};

// Checks `arguments` (an object) against the declaration: types and missing ones in the declared
// order, then unknown ones.  Texts as measured on 7.2.  `prefix` ("options.") goes in front of
// names where QEMU puts it.
Result<> validate(std::span<const Argument> declared, const Json& arguments,
                  std::string_view prefix = {});

// A whole request: an object with `execute`, perhaps `arguments` and `id`, and nothing else.
struct Request {
  std::string command;
  Json arguments;  // an object
};
Result<Request> read_request(const Json& input);

// {"return": …} or {"error": {"class", "desc"}}, with the request's `id` if it has one.
Json make_reply(const Json& input, Result<Json> result);

}  // namespace sim::qmp
