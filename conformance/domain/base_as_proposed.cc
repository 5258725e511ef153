// virDomainBlockRebase's `base` as a document, an extension that was thought of when the call was
// proposed (libvir-list, January 2012): a <disk> whose <source> names the image that stays, or that
// <source> alone.  <driver type> (or <format type>) and index are optional, but must be right.

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/lookup.h"
#include "conformance/domain/xml/disk_device.h"
#include "conformance/domain/xml/read_document.h"

namespace conformance {

namespace {

using xml::Element;

// As parse_disk() wants it: a whole disk with a target.
DomainResult<Element> read_base(const std::string& text) {
  constexpr xml::DocumentKind kDisk{"disk", "(disk_definition)", "DOMAIN"};
  constexpr xml::DocumentKind kSource{"source", "(source_definition)", "DOMAIN"};
  const std::size_t root = text.find_first_not_of(" \t\r\n");
  const bool source_alone = root != std::string::npos && text.substr(root).starts_with("<source");
  auto document = xml::read_document(text, source_alone ? kSource : kDisk);
  if (!document) return document;
  if (source_alone) {
    Element disk = Element::named("disk");
    disk.set("type", "file");
    disk.add(*std::move(document));
    document = std::move(disk);
  }
  if (document->child("source") == nullptr) return errors::no_source();
  if (document->child("target") == nullptr) {
    Element target = Element::named("target");
    target.set("dev", "vda").set("bus", "virtio");
    document->add(std::move(target));
  }
  return document;
}

}  // namespace

DomainResult<Source*> Domain::find_base(Disk& disk, const std::string& text) {
  auto document = read_base(text);
  if (!document) return std::unexpected(std::move(document).error());
  auto parsed = xml::parse_disk(*document, xml::Form::live);
  if (!parsed) return std::unexpected(std::move(parsed).error());
  const xml::StorageSource& said = parsed->source;
  auto image = find_image(*disk.source, disk.source.get(), disk.target, said.path);
  if (!image) return image;
  if (said.index != 0 && said.index != (*image)->index)
    return errors::other_base_index((*image)->path, (*image)->index, said.index);
  if (!said.format.empty() && said.format != (*image)->format)
    return errors::other_base_format((*image)->path, (*image)->format, said.format);
  return image;
}

}  // namespace conformance
