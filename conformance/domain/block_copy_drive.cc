// The recipe `drive`: a copy by drive-mirror, as libvirt made it before it named nodes.
//
// Three arguments libvirt did not send then, and the layer needs them: `job-id`, because a node
// that blockdev-add made has no device name to call the job after; `node-name`, so that what was
// the mirror can be named after the pivot (QEMU has it since 2.1); and `auto-dismiss`, so that it
// can be asked how the job ended. What QEMU did, by cell: testdata/qemu_drive_mirror.json.

#include <utility>

#include "conformance/domain/chain.h"
#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/reply.h"

namespace conformance {

// A reused image lies on what its header names, even if everything was copied into it: QEMU opens
// that at the pivot, and libvirt reads the chain anew.
DomainResult<void> Domain::find_beneath_drive(const CopyRequest& request, Source& mirror) {
  if (request.backing.knowledge() != xml::Backing::Knowledge::unknown)
    return errors::not_in_this_version("backing files of a copy by drive-mirror");
  mirror.backing = Backing::terminated;
  if (!request.reuse || !can_have_backing(request.format)) return {};
  auto read = read_chain(files_, mirror.path, mirror.format);
  if (!read) return std::unexpected(std::move(read).error());
  mirror.backing = (*read)->backing;
  mirror.beneath = std::move((*read)->beneath);
  if (mirror.beneath) number(*mirror.beneath);
  return {};
}

DomainResult<void> Domain::mirror_to_file(Disk& disk, const CopyRequest& request) {
  const Source& mirror = *disk.job->mirror;
  Json arguments = {{"job-id", disk.job->id},
                    {"device", disk.source->format_node()},
                    {"target", mirror.path},
                    {"node-name", mirror.format_node()},
                    {"sync", request.shallow ? "top" : "full"},
                    {"mode", request.reuse ? "existing" : "absolute-paths"},
                    {"format", mirror.format},
                    {"auto-dismiss", false}};
  add_mirror_options(request, arguments);
  if (auto mirroring = execute("drive-mirror", arguments); !mirroring)
    return std::unexpected(std::move(mirroring).error());
  return {};
}

// Only here are the nodes nested as they lie on one another.
DomainResult<void> Domain::name_opened_chain(Source& mirror) {
  auto statistics = execute("query-blockstats", nullptr);
  if (!statistics) return std::unexpected(std::move(statistics).error());
  for (const Json& device : *statistics) {
    if (!reply::is(device, "node-name", mirror.format_node())) continue;
    const Json* node = &reply::member(device, "backing");
    for (Source* source = mirror.beneath.get(); source != nullptr && node->is_object();
         source = source->beneath.get(), node = &reply::member(*node, "backing"))
      source->generated_node = reply::text(*node, "node-name");
  }
  return {};
}

}  // namespace conformance
