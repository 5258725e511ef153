#include "conformance/run/snapshot_xml.h"

#include "conformance/domain/xml/element.h"

namespace conformance {

std::string to_xml(const std::string& name, const SnapshotDocument& document) {
  using xml::Element;
  if (!document.xml.empty()) return document.xml;
  Element root = Element::named("domainsnapshot");
  root.add(Element::named("name")).add_text(name);
  if (!document.memory.empty()) root.add(Element::named("memory")).set("snapshot", document.memory);
  if (!document.disks) return xml::format_element(root);
  Element& disks = root.add(Element::named("disks"));
  for (const SnapshotDocument::OfDisk& of_disk : *document.disks) {
    Element& disk = disks.add(Element::named("disk"));
    disk.set("name", of_disk.disk).set_if("snapshot", of_disk.snapshot);
    if (!of_disk.format.empty()) disk.add(Element::named("driver")).set("type", of_disk.format);
    if (!of_disk.file.empty()) disk.add(Element::named("source")).set("file", of_disk.file);
  }
  return xml::format_element(root);
}

}  // namespace conformance
