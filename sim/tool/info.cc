// `understudy image info`.

#include "sim/image/info.h"

#include "sim/tool/invocation.h"

namespace sim::tool {

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

  Json list = Json::array();
  std::string text;
  for (image::Layer* at = layer->get(); at != nullptr; at = at->backing()) {
    auto info = co_await image::image_info(*at);
    if (!info) co_return invocation.fail(info.error().desc);
    if (!text.empty()) text += '\n';
    text += image::info_text(*at, *info);
    list.push_back(*std::move(info));
  }
  const bool chain = invocation.has("backing-chain");
  invocation.print(*format == Output::human ? text : json_text(chain ? list : list.front()) + "\n");
  co_return 0;
}

}  // namespace sim::tool
