// `understudy image snapshot`.

#include "sim/qcow2/snapshot.h"

#include <fmt/format.h>

#include "sim/image/layer.h"
#include "sim/image/texts.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

enum class Action : unsigned char { none, list, create, apply, remove };

constexpr std::size_t kNameMax = 255;  // QEMU cuts what is longer

Task<Result<>> act(Invocation& invocation, qcow2::Image& image, Action action, std::string name) {
  if (action == Action::apply) co_return co_await image.apply_snapshot(std::move(name));
  if (action == Action::remove) {
    // qemu-img deletes by name only.
    for (const qcow2::Snapshot& snapshot : image.snapshots())
      if (snapshot.name == name) co_return co_await image.delete_snapshot(snapshot.id);
    co_return os_error(ENOENT);
  }
  const std::uint64_t now = invocation.surroundings().now_ns();
  co_return co_await image.create_snapshot(
      {.name = name.substr(0, kNameMax),
       .date_seconds = static_cast<std::uint32_t>(now / 1'000'000'000),
       .date_nanoseconds = static_cast<std::uint32_t>(now % 1'000'000'000)});
}

std::string refusal(Action action, const std::string& name, const Error& error) {
  switch (action) {
    case Action::create:
      return fmt::format("Could not create snapshot '{}': {} ({})", name, -error.number,
                         os_error(error.number).desc);
    case Action::apply:
      return fmt::format("Could not apply snapshot '{}': {}", name, error.desc);
    default:
      return fmt::format("Could not delete snapshot '{}': {}", name,
                         error.number == ENOENT ? "snapshot not found" : error.desc);
  }
}

Task<int> on_layer(Invocation& invocation, image::Layer& layer, Action action,
                   const std::string& name) {
  qcow2::Image* const image = layer.qcow2();
  if (action == Action::list) {
    if (image != nullptr && !image->snapshots().empty())
      invocation.print(
          "Snapshot list:\n" +
          image::snapshot_table(image->snapshots(), invocation.surroundings().utc_offset));
    co_return 0;
  }
  Result<> done = Error{ErrorClass::generic, "Block driver does not support snapshots", ENOTSUP};
  if (action == Action::remove) done = os_error(ENOENT);
  if (image != nullptr && action != Action::none)
    done = co_await act(invocation, *image, action, name);
  auto closed = co_await layer.close();
  if (action == Action::none) co_return closed ? 0 : invocation.fail(closed.error().desc);
  if (done) done = std::move(closed);
  if (!done) co_return invocation.fail(refusal(action, name, done.error()));
  co_return 0;
}

}  // namespace

Task<int> snapshot_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'l', "list", false},
                                          {'a', "apply", true},
                                          {'c', "create", true},
                                          {'d', "delete", true},
                                          {'f', "format", true},
                                          {'q', "quiet", false}}))
    co_return *code;
  Action action = Action::none;
  std::string name;
  for (const auto& [option, what] :
       {std::pair{"l", Action::list}, std::pair{"a", Action::apply}, std::pair{"c", Action::create},
        std::pair{"d", Action::remove}}) {
    if (!invocation.has(option)) continue;
    if (action != Action::none || invocation.values(option).size() > 1)
      co_return invocation.bad_usage("Cannot mix '-l', '-a', '-c', '-d'");
    action = what;
    name = invocation.value(option);
  }
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  const bool writable = action != Action::list && action != Action::none;
  const auto layer = co_await image::open_chain(
      invocation.context(), invocation.request(invocation.names().front(), writable));
  if (!layer) co_return invocation.fail(layer.error().desc);
  co_return co_await on_layer(invocation, **layer, action, name);
}

}  // namespace sim::tool
