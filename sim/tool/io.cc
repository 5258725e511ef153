// `understudy image io`: qemu-io.

#include <fmt/format.h>

#include "sim/base/text.h"
#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/io_session.h"
#include "sim/tool/tool.h"

namespace sim::tool {

static const std::vector<Option> kOptions = {
    {'c', "cmd", true},       {'f', "format", true},      {'r', "read-only", false},
    {'s', "snapshot", false}, {'n', "nocache", false},    {'C', "copy-on-read", false},
    {'m', "misalign", false}, {'k', "native-aio", false}, {'i', "aio", true},
    {'t', "cache", true},     {'d', "discard", true},
};

// The commands: -c's, or those of standard input, for each of which qemu-io prompts.
static std::optional<std::string> next_command(const Invocation& invocation,
                                               const std::vector<std::string>& given,
                                               std::size_t& taken) {
  if (taken < given.size()) return given[taken++];
  const auto& read_line = invocation.surroundings().read_line;
  if (!given.empty() || !read_line) return std::nullopt;
  invocation.print("qemu-io> ");
  return read_line();
}

Task<int> io_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  if (invocation.names().size() > 1) co_return invocation.bad_usage("only one file can be opened");
  const std::string mode = invocation.value("t", "writeback");
  if (const auto code = check_cache_mode(invocation, "cache", mode)) co_return *code;
  if (!is_listed("ignore|off|unmap|on", invocation.value("d", "unmap")))
    co_return invocation.fail(fmt::format("Invalid discard option: {}", invocation.value("d")));
  const Cached cached(invocation, mode);
  IoSession session(invocation, cached.context());
  if (!invocation.names().empty()) {
    image::OpenRequest request =
        invocation.request(invocation.names().front(), !invocation.has("r"));
    if (co_await session.open(std::move(request), invocation.has("s")) == IoOutcome::failed)
      co_return 1;
  }
  int code = 0;
  const std::vector<std::string> given = invocation.values("c");
  std::size_t taken = 0;
  while (const auto line = next_command(invocation, given, taken)) {
    const IoOutcome outcome = co_await session.execute(*line);
    if (outcome == IoOutcome::failed) code = 1;
    if (outcome == IoOutcome::quit) break;
  }
  if (co_await session.close() == IoOutcome::failed) code = 1;
  co_return code;
}

}  // namespace sim::tool
