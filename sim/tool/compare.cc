// `understudy image compare`.

#include "sim/image/compare.h"

#include <fmt/format.h>

#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/progress.h"

namespace sim::tool {

namespace {

// qemu-img's exit codes.
constexpr int kDifferent = 1;
constexpr int kNotOpened = 2;
constexpr int kNoStatus = 3;
constexpr int kNotRead = 4;

std::string text_of(const image::Difference& difference) {
  switch (difference.kind) {
    case image::Difference::Kind::size:
      return "Strict mode: Image size mismatch!\n";
    case image::Difference::Kind::status:
      return fmt::format("Strict mode: Offset {} block status mismatch!\n", difference.offset);
    case image::Difference::Kind::content:
      break;
  }
  return fmt::format("Content mismatch at offset {}!\n", difference.offset);
}

int fail_with(const Invocation& invocation, const image::CompareError& error) {
  const std::string& name = invocation.names()[error.in_first ? 0 : 1];
  if (error.reading)
    return invocation.fail(fmt::format("Error while reading offset {} of {}: {}", error.offset,
                                       name, error.error.desc),
                           kNotRead);
  return invocation.fail(
      fmt::format("Sector allocation test failed for {}: {}", name, error.error.desc), kNoStatus);
}

}  // namespace

Task<int> compare_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "", true},
                                          {'F', "", true},
                                          {'T', "", true},
                                          {'p', "", false},
                                          {'q', "", false},
                                          {'s', "", false}}))
    co_return *code == 0 ? 0 : kNotOpened;
  if (invocation.names().size() != 2) {
    (void)invocation.bad_usage("Expecting two image file names");
    co_return kNotOpened;
  }
  if (invocation.has("image-opts") && (invocation.has("f") || invocation.has("F")))
    co_return invocation.fail("--image-opts and --format are mutually exclusive", kNotOpened);
  if (check_cache_mode(invocation, "source cache", invocation.value("T", "writeback")))
    co_return kNotOpened;
  const auto first = co_await image::open_chain(invocation.context(),
                                                invocation.request(invocation.names()[0], false));
  if (!first) co_return invocation.fail(first.error().desc, kNotOpened);
  image::OpenRequest request = invocation.request(invocation.names()[1], false);
  request.format = invocation.value("F");
  const auto second = co_await image::open_chain(invocation.context(), std::move(request));
  if (!second) co_return invocation.fail(second.error().desc, kNotOpened);

  const bool strict = invocation.has("s");
  Progress progress(invocation);
  const image::Comparison comparison = co_await image::compare(
      **first, **second, {.strict = strict, .progress = progress.observer()});
  if (comparison.error) co_return fail_with(invocation, *comparison.error);
  const auto say = [&](const std::string& text) {
    if (!invocation.quiet()) invocation.print(text);
  };
  const std::uint64_t both = std::min((*first)->size(), (*second)->size());
  // Said before what lies beyond the shorter one is looked at.
  if (!strict && (*first)->size() != (*second)->size() &&
      (!comparison.difference || comparison.difference->offset >= both))
    say("Warning: Image size mismatch!\n");
  if (comparison.difference) {
    say(text_of(*comparison.difference));
    co_return kDifferent;
  }
  progress.finish();
  say("Images are identical.\n");
  co_return 0;
}

}  // namespace sim::tool
