// virDomainBlockCopy: a copy whose destination is told by a <disk> document.  Order of the checks
// and what is sent: measured on libvirt 9.0 (testdata/libvirt_9_0_block_copy_xml.json).

#include <bit>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/xml/disk_device.h"
#include "conformance/domain/xml/read_document.h"

namespace conformance {

namespace {

constexpr std::uint32_t kSupported =
    kCopyShallow | kCopyReuseExt | kCopyTransientJob | kCopySynchronousWrites;
constexpr xml::DocumentKind kKind{"disk", "(disk_definition)", "DOMAIN"};

// A destination needs no target, which the parser of whole disks wants.
DomainResult<xml::DiskDevice> parse_destination(const std::string& text) {
  auto document = xml::read_document(text, kKind);
  if (!document) return std::unexpected(std::move(document).error());
  if (document->child("target") == nullptr) {
    if (document->child("source") == nullptr) return errors::no_source();
    xml::Element target = xml::Element::named("target");
    target.set("dev", "vda").set("bus", "virtio");
    document->add(std::move(target));
  }
  return xml::parse_disk(*document, xml::Form::live);
}

bool is_on_host(xml::StorageType type) {
  return type == xml::StorageType::file || type == xml::StorageType::block;
}

}  // namespace

// The chain as it is given is believed.  Where it is left open, nobody looks (measured).
DomainResult<void> Domain::take_backing(const xml::Backing& given, Source& above) {
  using Knowledge = xml::Backing::Knowledge;
  above.backing = given.knowledge() == Knowledge::unknown ? Backing::unknown : Backing::terminated;
  const xml::StorageSource* source = given.source();
  if (source == nullptr) return {};
  if (!is_on_host(source->type))
    return errors::not_in_this_version("a backing image that is not a file");
  auto beneath = std::make_unique<Source>();
  beneath->path = source->path;
  beneath->format = source->format;
  if (auto lower = take_backing(source->backing, *beneath); !lower) return lower;
  above.backing = Backing::known;
  above.beneath = std::move(beneath);
  return {};
}

DomainResult<void> Domain::block_copy(const std::string& disk, const std::string& destination,
                                      const BlockCopyParameters& parameters, std::uint32_t flags) {
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuDomainBlockCopy");
  if (parameters.granularity != 0 && !std::has_single_bit(parameters.granularity))
    return errors::odd_granularity();
  auto parsed = parse_destination(destination);
  if (!parsed) return std::unexpected(std::move(parsed).error());
  const xml::StorageSource& source = parsed->source;
  const bool is_volume = source.type == xml::StorageType::volume;
  if (!is_volume && !is_on_host(source.type))
    return errors::not_in_this_version("a destination that is not a file");
  if (!is_volume && !source.path.starts_with('/')) return errors::relative_target();
  if (parameters.bandwidth > errors::kMaxBandwidth) return errors::bandwidth_bytes_overflow();
  CopyRequest request{.path = source.path,
                      .format = source.format,
                      .speed = parameters.bandwidth,
                      .shallow = (flags & kCopyShallow) != 0,
                      .reuse = (flags & kCopyReuseExt) != 0,
                      .block_device = source.type == xml::StorageType::block,
                      .granularity = parameters.granularity,
                      .buffer = parameters.buf_size,
                      .write_blocking = (flags & kCopySynchronousWrites) != 0,
                      .transient_job = (flags & kCopyTransientJob) != 0,
                      .backing = source.backing};
  if (is_volume) request.volume = {source.pool, source.volume};
  return copy(disk, std::move(request));
}

}  // namespace conformance
