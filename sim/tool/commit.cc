// `understudy image commit`.

#include "sim/image/commit.h"

#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/progress.h"
#include "sim/tool/tool.h"

namespace sim::tool {

static const std::vector<Option> kOptions = {
    {'f', "", true},  {'t', "", true},  {'b', "", true}, {'d', "", false},
    {'p', "", false}, {'q', "", false}, {'r', "", true},
};

Task<int> commit_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  if (invocation.has("r")) {
    const auto rate = parse_number("rate limit", invocation.value("r"));
    if (!rate) co_return invocation.fail(rate.error().desc);
  }
  const std::string mode = invocation.value("t", "writeback");
  if (const auto code = check_cache_mode(invocation, "cache", mode)) co_return *code;
  const Cached cached(invocation, mode);
  image::CommitRequest request{.image = invocation.request(invocation.names().front(), true),
                               .base = invocation.value("b"),
                               .keep_data = invocation.has("d")};
  {
    Progress progress(invocation);
    request.progress = progress.observer();
    const auto done = co_await image::commit(cached.context(), std::move(request));
    if (!done) co_return invocation.fail(done.error().desc);
  }
  if (!invocation.quiet()) invocation.print("Image committed.\n");
  co_return 0;
}

}  // namespace sim::tool
