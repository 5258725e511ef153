#include "conformance/run/destination_xml.h"

#include <algorithm>
#include <ranges>

#include "conformance/domain/xml/element.h"

namespace conformance {

namespace {

using xml::Element;

// <backingStore>s inside one another, from the lowest up.
void add_backing(Element& disk, const CopyDestination& destination) {
  std::vector<Element> beneath;
  if (destination.terminated) beneath.push_back(Element::named("backingStore"));
  for (const CopyDestination::Layer& layer : std::views::reverse(destination.backing)) {
    Element store = Element::named("backingStore");
    store.set("type", "file");
    store.add(Element::named("format"))
        .set("type", layer.format == Image::Format::raw ? "raw" : "qcow2");
    store.add(Element::named("source")).set("file", layer.file);
    if (!beneath.empty()) store.add(std::move(beneath.front()));
    beneath.assign(1, std::move(store));
  }
  if (!beneath.empty()) disk.add(std::move(beneath.front()));
}

}  // namespace

std::string to_xml(const CopyDestination& destination) {
  if (!destination.xml.empty()) return destination.xml;
  Element disk = Element::named("disk");
  disk.set("type", destination.is_device ? "block" : "file");
  if (destination.format != CopyDestination::Format::unsaid)
    disk.add(Element::named("driver"))
        .set("type", destination.format == CopyDestination::Format::raw ? "raw" : "qcow2");
  disk.add(Element::named("source")).set(destination.is_device ? "dev" : "file", destination.path);
  add_backing(disk, destination);
  return xml::format_element(disk);
}

}  // namespace conformance
