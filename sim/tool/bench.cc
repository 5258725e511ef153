// `understudy image bench`: many requests of one size, and how long they took.

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "sim/base/page_buffer.h"
#include "sim/base/size.h"
#include "sim/base/text.h"
#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/tool.h"

namespace sim::tool {

namespace {

const std::vector<Option> kOptions = {
    {'c', "", true},
    {'d', "", true},
    {'f', "", true},
    {'i', "", true},
    {'n', "", false},
    {'o', "", true},
    {'q', "", false},
    {'s', "", true},
    {'S', "", true},
    {'t', "", true},
    {'w', "", false},
    {'\0', "pattern", true},
    {'\0', "flush-interval", true},
    {'\0', "no-drain", false},
};

struct Plan {
  bool write = false;
  std::uint64_t count = 75000, depth = 64, bytes = 4096;
  std::uint64_t offset = 0, step = 0;
  std::uint64_t flush_interval = 0;  // requests; 0: never
  std::byte pattern{};
};

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

// A plain number of at most `most`; absent: as `number` is.
Result<> take(const Invocation& invocation, std::string_view option, std::string_view what,
              std::uint64_t most, std::uint64_t& number) {
  if (!invocation.has(option)) return ok();
  const auto given = parse_size(invocation.value(option));
  if (!given || *given > most) return refuse(fmt::format("Invalid {} specified", what));
  number = *given;
  return ok();
}

Result<> take_size(const Invocation& invocation, std::string_view option, std::string_view what,
                   std::uint64_t least, std::uint64_t& number) {
  if (!invocation.has(option)) return ok();
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  TRY(number, parse_number(what, invocation.value(option), least,
                           option == "o" ? std::uint64_t{INT64_MAX} : kMost));
  return ok();
}

Result<Plan> plan_of(const Invocation& invocation) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  Plan plan{.write = invocation.has("w")};
  TRY_OK(take(invocation, "c", "request count", kMost, plan.count));
  TRY_OK(take(invocation, "d", "queue depth", kMost, plan.depth));
  TRY_OK(take(invocation, "flush-interval", "flush interval", kMost, plan.flush_interval));
  TRY_OK(take_size(invocation, "s", "buffer size", 1, plan.bytes));
  TRY_OK(take_size(invocation, "S", "step_size", 0, plan.step));
  TRY_OK(take_size(invocation, "o", "offset", 0, plan.offset));
  std::uint64_t pattern = 0;
  TRY_OK(take(invocation, "pattern", "pattern byte", 255, pattern));
  plan.pattern = static_cast<std::byte>(pattern);
  if (plan.step == 0) plan.step = plan.bytes;
  if (invocation.has("i") && !is_listed("threads|native|io_uring", invocation.value("i")))
    return refuse(fmt::format("Invalid aio option: {}", invocation.value("i")));
  if (plan.flush_interval > 0 && !plan.write)
    return refuse("--flush-interval is only available in write tests");
  if (plan.flush_interval > 0 && plan.flush_interval < plan.depth)
    return refuse("Flush interval can't be smaller than depth");
  return plan;
}

// One after the other: nothing here waits, so depth changes nothing.
Task<Result<>> send(image::Layer& layer, const Plan& plan) {
  constexpr std::uint64_t kPieceBytes = 64_MiB;
  PageBuffer buffer(std::min(plan.bytes, kPieceBytes));
  std::ranges::fill(buffer.first(buffer.size()), plan.pattern);
  const std::uint64_t size = layer.size();
  std::uint64_t offset = plan.offset;
  for (std::uint64_t i = 0; i < plan.count; ++i) {
    if (offset > size || plan.bytes > size - offset) co_return os_error(EIO, "Failed request");
    for (std::uint64_t done = 0; done < plan.bytes;) {
      const MutableBytes piece =
          buffer.first(std::min<std::uint64_t>(buffer.size(), plan.bytes - done));
      auto moved =
          plan.write ? layer.write(offset + done, piece) : layer.read(offset + done, piece);
      if (auto result = co_await std::move(moved); !result)
        co_return os_error(result.error().number, "Failed request");
      done += piece.size();
    }
    if (plan.flush_interval > 0 && (i + 1) % plan.flush_interval == 0)
      CO_TRY_OK(co_await layer.flush());
    offset = (offset + plan.step) % size;
  }
  co_return ok();
}

}  // namespace

Task<int> bench_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  const auto plan = plan_of(invocation);
  if (!plan) co_return invocation.fail(plan.error().desc);
  const std::string mode = invocation.value("t", "writeback");
  if (!is_listed("none|off|writeback|writethrough|directsync|unsafe", mode))
    co_return invocation.fail("Invalid cache mode");
  const Cached cached(invocation, mode);
  auto opened = co_await image::open_chain(
      cached.context(), invocation.request(invocation.names().front(), plan->write));
  if (!opened) co_return invocation.fail(opened.error().desc);
  image::Layer& layer = **opened;
  invocation.print(
      fmt::format("Sending {} {} requests, {} bytes each, {} in parallel (starting at "
                  "offset {}, step size {})\n",
                  plan->count, plan->write ? "write" : "read", plan->bytes, plan->depth,
                  plan->offset, plan->step));
  if (plan->flush_interval > 0)
    invocation.print(fmt::format("Sending flush every {} requests\n", plan->flush_interval));
  const std::uint64_t start = invocation.surroundings().now_ns();
  const auto sent = co_await send(layer, *plan);
  const std::uint64_t milliseconds = (invocation.surroundings().now_ns() - start) / 1'000'000;
  if (sent)
    invocation.print(fmt::format("Run completed in {}.{:03} seconds.\n", milliseconds / 1000,
                                 milliseconds % 1000));
  const auto closed = co_await layer.close();
  if (!sent) co_return invocation.fail(sent.error().desc);
  if (!closed) co_return invocation.fail(closed.error().desc);
  co_return 0;
}

}  // namespace sim::tool
