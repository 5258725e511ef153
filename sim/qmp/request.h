// What a client sends and what it gets: requests and replies of QMP, before and after a command.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::qmp {

// A whole request: an object with `execute`, perhaps `arguments` and `id`, and nothing else.
struct Request {
  std::string command;
  Json arguments;  // an object
};
Result<Request> read_request(const Json& input);

// {"return": …} or {"error": {"class", "desc"}}, with the request's `id` if it has one.
Json make_reply(const Json& input, Result<Json> result);

}  // namespace sim::qmp
