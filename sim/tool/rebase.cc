// `understudy image rebase`.

#include "sim/image/rebase.h"

#include <fmt/format.h>

#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/progress.h"
#include "sim/tool/tool.h"

namespace sim::tool {

static const std::vector<Option> kOptions = {
    {'f', "", true},  {'F', "", true},  {'b', "", true}, {'u', "", false},
    {'p', "", false}, {'q', "", false}, {'t', "", true}, {'T', "", true},
};

Task<int> rebase_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  if (!invocation.has("u") && !invocation.has("b"))
    co_return invocation.bad_usage("Must specify backing file (-b) or use unsafe mode (-u)");
  if (!invocation.value("b").empty() && !invocation.has("F"))
    co_return invocation.fail(
        fmt::format("Could not change the backing file to '{}': backing format must be specified",
                    invocation.value("b")));
  const std::string mode = invocation.value("t", "writeback");
  if (const auto code = check_cache_mode(invocation, "cache", mode)) co_return *code;
  if (const auto code =
          check_cache_mode(invocation, "source cache", invocation.value("T", "writeback")))
    co_return *code;
  const Cached cached(invocation, mode);
  Progress progress(invocation);
  image::RebaseRequest request{.image = invocation.request(invocation.names().front(), true),
                               .backing = invocation.value("b"),
                               .backing_format = invocation.value("F"),
                               .unsafe = invocation.has("u"),
                               .progress = progress.observer()};
  const auto done = co_await image::rebase(cached.context(), std::move(request));
  if (!done) co_return invocation.fail(done.error().desc);
  progress.finish();
  co_return 0;
}

}  // namespace sim::tool
