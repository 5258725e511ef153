// qemu-io's commands that look at an image, and those that change its length.

#include <fmt/format.h>

#include <algorithm>

#include "sim/tool/io_session.h"
#include "sim/tool/io_text.h"

namespace sim::tool {

// A stretch that the topmost layer has, or has not.
struct Run {
  std::uint64_t length = 0;
  bool allocated = false;
};

static Task<Result<Run>> run_at(image::Layer& layer, std::uint64_t at, std::uint64_t end) {
  Run run;
  while (at + run.length < end) {
    const std::uint64_t next = at + run.length;
    CO_TRY(const image::Status status, co_await layer.status(next, end - next));
    if (run.length > 0 && status.allocated != run.allocated) break;
    run.allocated = status.allocated;
    run.length += status.length;
  }
  co_return run;
}

Task<IoOutcome> io_alloc(IoSession& session, const IoArguments& arguments) {
  constexpr std::uint64_t kSector = 512;
  image::Layer& layer = session.layer();
  const auto offset = io_number(session, arguments.operands.front());
  if (!offset) co_return IoOutcome::failed;
  std::uint64_t count = kSector;
  if (arguments.operands.size() > 1) {
    const auto number = io_number(session, arguments.operands[1]);
    if (!number) co_return IoOutcome::failed;
    count = *number;
  }
  const std::uint64_t start = std::min(*offset, layer.size());
  const std::uint64_t end = start + std::min(count, layer.size() - start);
  std::uint64_t allocated = 0;
  for (std::uint64_t at = start; at < end;) {
    const auto run = co_await run_at(layer, at, end);
    if (!run) co_return session.refuse(fmt::format("is_allocated failed: {}", run.error().desc));
    if (run->allocated) allocated += run->length;
    at += run->length;
  }
  session.print(fmt::format("{}/{} bytes allocated at offset {}\n", allocated, end - start,
                            io_size(*offset)));
  co_return IoOutcome::done;
}

Task<IoOutcome> io_map(IoSession& session, const IoArguments&) {
  image::Layer& layer = session.layer();
  for (std::uint64_t at = 0; at < layer.size();) {
    const auto run = co_await run_at(layer, at, layer.size());
    if (!run)
      co_return session.complain(
          fmt::format("Failed to get allocation status: {}", run.error().desc));
    session.print(fmt::format("{} ({:#x}) bytes {} allocated at offset {} ({:#x})\n",
                              io_size(run->length), run->length, run->allocated ? "   " : "not",
                              io_size(at), at));
    at += run->length;
  }
  co_return IoOutcome::done;
}

Task<IoOutcome> io_length(IoSession& session, const IoArguments&) {
  session.print(fmt::format("{}\n", io_size(session.layer().size())));
  co_return IoOutcome::done;
}

Task<IoOutcome> io_info(IoSession& session, const IoArguments&) {
  image::Layer& layer = session.layer();
  std::uint64_t vm_state = 0;
  if (const qcow2::Image* image = layer.qcow2()) {
    const qcow2::Geometry geometry = image->header().geometry();
    vm_state = geometry.l1_entries_for(image->size()) * geometry.l1_span();
  }
  session.print(fmt::format("format name: {}\ncluster size: {}\nvm state offset: {}\n",
                            layer.format(), io_size(layer.cluster_size()), io_size(vm_state)));
  co_return IoOutcome::done;
}

static std::optional<qcow2::Preallocation> preallocation_of(std::string_view name) {
  using enum qcow2::Preallocation;
  if (name == "off") return off;
  if (name == "metadata") return metadata;
  if (name == "falloc") return falloc;
  if (name == "full") return full;
  return std::nullopt;
}

Task<IoOutcome> io_truncate(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.empty()) co_return session.refuse(arguments.usage);
  auto preallocation = std::make_optional(qcow2::Preallocation::off);
  if (arguments.has('m')) preallocation = preallocation_of(arguments.options.at('m'));
  if (!preallocation)
    co_return session.complain(
        fmt::format("Invalid preallocation mode '{}'", arguments.options.at('m')));
  const auto size = io_number(session, arguments.operands.front());
  if (!size || !session.may_change()) co_return IoOutcome::failed;
  if (auto done = co_await session.layer().resize(*size, *preallocation); !done)
    co_return session.complain(done.error().desc);
  co_return IoOutcome::done;
}

Task<IoOutcome> io_flush(IoSession& session, const IoArguments&) {
  if (auto done = co_await session.layer().flush(); !done)
    co_return session.refuse(fmt::format("flush failed: {}", done.error().desc));
  co_return IoOutcome::done;
}

}  // namespace sim::tool
