// What a client sends and what it gets: requests and replies of QMP, before and after a command.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::qmp {

// A whole request: an object with `execute` (or `exec-oob`), perhaps `arguments` and `id`, and
// nothing else.
struct Request {
  std::string command;
  Json arguments;            // an object
  bool out_of_band = false;  // `exec-oob`
};

enum class OutOfBand : unsigned char { refused, allowed };  // as negotiated

// The first mistake is told, in the order in which QEMU's dictionary gives the members (measured on
// 5.2 to 11.1).
Result<Request> read_request(const Json& input, OutOfBand out_of_band = OutOfBand::refused);

// {"return": …} or {"error": {"class", "desc"}}, with the request's `id` if it has one.
Json make_reply(const Json& input, Result<Json> result);

}  // namespace sim::qmp
