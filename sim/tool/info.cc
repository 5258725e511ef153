// `understudy image info`.

#include "sim/image/info.h"

#include "sim/base/text.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

// A value of a member that stands `level` levels deep.
std::string indented(const Json& value, std::size_t level) {
  return replace_all(json_text(value), "\n", "\n" + std::string(level * 4, ' '));
}

// The snapshots are made into text one by one: there may be many.
void print_snapshots(const Invocation& invocation, image::Layer& layer, std::size_t level) {
  const std::string indent(level * 4, ' ');
  std::string_view before = "[\n";
  for (const qcow2::Snapshot& snapshot : layer.qcow2()->snapshots()) {
    invocation.print(before);
    invocation.print(indent + "    " + indented(image::snapshot_info(snapshot), level + 1));
    before = ",\n";
  }
  invocation.print("\n" + indent + "]");
}

void print_info(const Invocation& invocation, image::Layer& layer, const Json& info,
                std::size_t level) {
  const std::string indent(level * 4, ' ');
  std::string_view before = "{\n";
  invocation.print(indent);
  for (const auto& [key, value] : info.items()) {
    invocation.print(before);
    invocation.print(indent + "    \"" + key + "\": ");
    if (key == "snapshots")
      print_snapshots(invocation, layer, level + 1);
    else
      invocation.print(indented(value, level + 1));
    before = ",\n";
  }
  invocation.print("\n" + indent + "}");
}

}  // namespace

Task<int> info_command(Invocation& invocation) {
  if (const auto code = invocation.parse(
          {{'f', "format", true}, {'\0', "output", true}, {'\0', "backing-chain", false}}))
    co_return *code;
  const auto format = output_format(invocation);
  if (!format) co_return invocation.fail(format.error().desc);
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  image::OpenRequest request = invocation.request(invocation.names().front(), false);
  request.metadata_only = true;
  request.with_backing = invocation.has("backing-chain");
  const auto layer = co_await image::open_chain(invocation.context(), std::move(request));
  if (!layer) co_return invocation.fail(layer.error().desc);

  // Nothing is printed until all is known.
  std::vector<std::pair<image::Layer*, Json>> infos;
  for (image::Layer* at = layer->get(); at != nullptr; at = at->backing()) {
    auto info = co_await image::image_info(*at);
    if (!info) co_return invocation.fail(info.error().desc);
    infos.emplace_back(at, *std::move(info));
  }
  if (*format == Output::human) {
    for (std::size_t i = 0; i < infos.size(); ++i)
      invocation.print(
          (i > 0 ? "\n" : "") +
          image::info_text(*infos[i].first, infos[i].second, invocation.surroundings().utc_offset));
    co_return 0;
  }
  const bool chain = invocation.has("backing-chain");
  if (chain) invocation.print("[\n");
  for (std::size_t i = 0; i < infos.size(); ++i) {
    if (i > 0) invocation.print(",\n");
    print_info(invocation, *infos[i].first, infos[i].second, chain ? 1 : 0);
  }
  invocation.print(chain ? "\n]\n" : "\n");
  co_return 0;
}

}  // namespace sim::tool
