// `understudy image resize`.

#include <fmt/format.h>

#include <optional>

#include "sim/base/size.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

// A size as resize takes it: to be, or to be added to what is or taken away from it.
struct Wanted {
  enum class Kind : unsigned char { absolute, more, less };
  Kind kind = Kind::absolute;
  std::uint64_t bytes = 0;
};

Result<Wanted> read_size(std::string_view text) {
  Wanted wanted;
  if (text.starts_with('+')) wanted.kind = Wanted::Kind::more;
  if (text.starts_with('-')) wanted.kind = Wanted::Kind::less;
  if (wanted.kind != Wanted::Kind::absolute) text.remove_prefix(1);
  const auto bytes = parse_qemu_size(text);
  if (bytes) {
    wanted.bytes = *bytes;
    return wanted;
  }
  if (bytes.error().number == ERANGE)
    return Error{ErrorClass::generic,
                 fmt::format("Value '{}' is out of range for parameter 'size'", text), ERANGE};
  return Error{ErrorClass::generic, "Parameter 'size' expects a non-negative number below 2^64",
               EINVAL};
}

// Nothing: not a size that an image can have.
std::optional<std::uint64_t> size_from(const Wanted& wanted, std::uint64_t present) {
  std::optional<std::uint64_t> size = wanted.bytes;
  if (wanted.kind == Wanted::Kind::more) size = checked_add(present, wanted.bytes);
  if (wanted.kind == Wanted::Kind::less)
    size = wanted.bytes <= present ? std::optional(present - wanted.bytes) : std::nullopt;
  if (!size || *size == 0 || *size > std::uint64_t{INT64_MAX}) return std::nullopt;
  return size;
}

std::optional<qcow2::Preallocation> preallocation_of(std::string_view text) {
  using enum qcow2::Preallocation;
  if (text == "off") return off;
  if (text == "metadata") return metadata;
  if (text == "falloc") return falloc;
  if (text == "full") return full;
  return std::nullopt;
}

}  // namespace

Task<int> resize_command(Invocation& invocation) {
  const std::string last = invocation.take_last_argument();
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'\0', "preallocation", true},
                                          {'\0', "shrink", false},
                                          {'q', "quiet", false}}))
    co_return *code;
  if (last == "-h" || last == "--help") {
    Invocation help(invocation.surroundings(), invocation.world(), invocation.command(), {last});
    co_return help
        .parse({{'f', "format", true},
                {'\0', "preallocation", true},
                {'\0', "shrink", false},
                {'q', "quiet", false}})
        .value_or(0);
  }
  const auto preallocation = preallocation_of(invocation.value("preallocation", "off"));
  if (!preallocation)
    co_return invocation.fail(
        fmt::format("Invalid preallocation mode '{}'", invocation.value("preallocation")));
  if (invocation.names().empty()) co_return invocation.bad_usage("Not enough arguments");
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting image file name and size");
  const auto wanted = read_size(last);
  if (!wanted) co_return invocation.fail(wanted.error().desc);

  auto opened = co_await image::open_chain(invocation.context(),
                                           invocation.request(invocation.names().front(), true));
  if (!opened) co_return invocation.fail(opened.error().desc);
  image::Layer& layer = **opened;
  const auto size = size_from(*wanted, layer.size());
  Result<> resized = ok();
  int code = 1;
  if (!size) {
    invocation.complain("New image size must be positive");
  } else if (*size <= layer.size() && *preallocation != qcow2::Preallocation::off) {
    invocation.complain("Preallocation can only be used for growing images");
  } else if (*size < layer.size() && !invocation.has("shrink")) {
    invocation.complain("Use the --shrink option to perform a shrink operation.");
    invocation.complain(
        "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before "
        "performing such an operation, make sure there is no important data there.");
  } else {
    resized = co_await layer.resize(*size, *preallocation);
    code = resized.ok() ? 0 : 1;
    if (!resized) invocation.complain(resized.error().desc);
  }
  if (auto closed = co_await layer.close(); !closed && code == 0)
    co_return invocation.fail(closed.error().desc);
  if (code == 0 && !invocation.quiet()) invocation.print("Image resized.\n");
  co_return code;
}

}  // namespace sim::tool
