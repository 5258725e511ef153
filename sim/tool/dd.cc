// `understudy image dd`.

#include "sim/image/dd.h"

#include <fmt/format.h>

#include "sim/base/text.h"
#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/tool.h"

namespace sim::tool {

static const std::vector<Option> kOptions = {{'f', "", true}, {'O', "", true}};

// The operands, "if=NAME" and the like; the last of a kind counts.
static Result<> read_operands(const Invocation& invocation, image::DdRequest& request) {
  const auto bad = [](std::string text) {
    return Error{ErrorClass::generic, std::move(text), EINVAL};
  };
  std::string input;
  for (const std::string& operand : invocation.names()) {
    const std::size_t equals = operand.find('=');
    const std::string name = operand.substr(0, equals);
    const bool known = is_listed("bs|count|if|of|skip", name);
    if (equals == std::string::npos || !known)
      return bad(fmt::format("unrecognized operand {}", name));
    const std::string value = operand.substr(equals + 1);
    if (name == "if") input = value;
    if (name == "of") request.destination = value;
    if (name == "bs") {
      TRY(request.block, parse_number("bs", value, 1, INT32_MAX));
    }
    if (name == "count") {
      TRY(request.count, parse_number("count", value));
    }
    if (name == "skip") {
      TRY(request.skip, parse_number("skip", value));
    }
  }
  if (input.empty() || request.destination.empty())
    return bad("Must specify both input and output files");
  request.source = invocation.request(input, false);
  return ok();
}

Task<int> dd_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  image::DdRequest request{.format = invocation.value("O", "raw")};
  if (auto read = read_operands(invocation, request); !read)
    co_return invocation.fail(read.error().desc);
  if (request.format != "raw" && request.format != "qcow2")
    co_return invocation.fail("Unknown file format");
  request.warning = [&](std::string_view text) { invocation.complain(text); };
  const auto done = co_await image::dd(invocation.context(), std::move(request));
  if (!done) co_return invocation.fail(done.error().desc);
  co_return 0;
}

}  // namespace sim::tool
