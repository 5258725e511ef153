#include "conformance/domain/xml/domain_xml.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "conformance/domain/xml/errors.h"
#include "conformance/domain/xml/read_document.h"

namespace conformance::xml {
namespace {

constexpr DocumentKind kKind{"domain", "(domain_definition)", "DOMAIN"};

bool is_disk(const Element& element) {
  return element.kind == Element::Kind::element && element.name == "disk";
}

DomainResult<void> check_targets(const std::vector<DiskDevice>& disks) {
  std::map<std::string_view, const DiskDevice*> seen;
  for (const DiskDevice& disk : disks) {
    const auto [other, fresh] = seen.emplace(disk.target, &disk);
    if (!fresh)
      return errors::duplicate_target(disk.target, other->second->source.shown_name(),
                                      disk.source.shown_name());
  }
  return {};
}

}  // namespace

DomainResult<DomainXml> parse_domain(const std::string& text, Form form) {
  auto root = read_document(text, kKind);
  if (!root) return std::unexpected(std::move(root).error());
  return parse_domain(std::move(*root), form);
}

DomainResult<DomainXml> parse_domain(Element domain, Form form) {
  DomainXml result;
  std::size_t count = 0;
  for (const Element& devices : domain.children)
    if (devices.name == "devices")
      count += static_cast<std::size_t>(std::ranges::count_if(devices.children, is_disk));
  if (count > kMaxDisks)
    return errors::beyond_limit("a domain with more than " + std::to_string(kMaxDisks) + " disks");
  result.disks.reserve(count);
  for (Element& devices : domain.children) {
    if (devices.name != "devices") continue;
    for (Element& element : devices.children) {
      if (!is_disk(element)) continue;
      auto disk = parse_disk(element, form);
      if (!disk) return std::unexpected(std::move(disk).error());
      result.disks.push_back(std::move(*disk));
      element = Element::named("disk");
    }
  }
  if (auto check = check_targets(result.disks); !check)
    return std::unexpected(std::move(check).error());
  result.rest = std::move(domain);
  return result;
}

namespace {

// Writes disks[next…] into the places of one <devices>; the last one takes all that are left.
void fill(Element& devices, const std::vector<DiskDevice>& disks, std::size_t& next, bool last,
          Form form) {
  std::vector<Element> children;
  const auto add = [&](std::size_t end) {
    for (; next < std::min(end, disks.size()); ++next)
      children.push_back(format_disk(disks[next], form));
  };
  auto places = std::ranges::count_if(devices.children, is_disk);
  // Where there is no place, disks stand where libvirt has them: behind the emulator.
  const bool placeless = places == 0 && last;
  const auto emulator = std::ranges::find(devices.children, "emulator", &Element::name);
  const bool first = placeless && emulator == devices.children.end();
  if (first) add(disks.size());
  for (Element& child : devices.children) {
    if (is_disk(child)) {
      --places;
      add(places == 0 && last ? disks.size() : next + 1);
      continue;
    }
    const bool is_emulator = child.name == "emulator";
    children.push_back(std::move(child));
    if (placeless && is_emulator) add(disks.size());
  }
  devices.children = std::move(children);
}

}  // namespace

Element format_domain_element(const DomainXml& domain, Form form) {
  Element root = domain.rest;
  const auto is_devices = [](const Element& child) { return child.name == "devices"; };
  auto left = std::ranges::count_if(root.children, is_devices);
  if (left == 0 && !domain.disks.empty()) {
    root.add(Element::named("devices"));
    left = 1;
  }
  std::size_t next = 0;
  for (Element& child : root.children)
    if (is_devices(child)) fill(child, domain.disks, next, --left == 0, form);
  return root;
}

std::string format_domain(const DomainXml& domain, Form form) {
  return format_element(format_domain_element(domain, form));
}

}  // namespace conformance::xml
