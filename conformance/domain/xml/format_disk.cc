// <disk> as libvirt 9.0 writes it.

#include <array>
#include <utility>

#include "conformance/domain/xml/disk_device.h"
#include "conformance/domain/xml/iotune_names.h"
#include "conformance/domain/xml/names.h"

namespace conformance::xml {
namespace {

bool says_something(const Element& element) {
  return !element.attributes.empty() || !element.children.empty();
}

Element format_driver(const DiskDevice& disk) {
  Element driver = Element::named("driver");
  driver.set_if("name", disk.driver).set_if("type", disk.source.format);
  driver.set_if("cache", disk.cache).set_if("io", disk.io).set_if("discard", disk.discard);
  driver.set_if("detect_zeroes", disk.detect_zeroes);
  arrange_attributes(driver, names::kDriverAttributes, disk.driver_attributes);
  arrange(driver, {}, {}, disk.source.format_others);
  return driver;
}

std::optional<Element> format_disk_source(const DiskDevice& disk, Form form) {
  const bool indexed = form == Form::live && disk.source.index != 0;
  auto source = format_source(disk.source,
                              {.auth = !disk.auth_in_disk, .encryption = !disk.encryption_in_disk});
  if (!source) {
    if (disk.startup_policy.empty()) return std::nullopt;
    source = Element::named("source");
  }
  source->set_if("startupPolicy", disk.startup_policy);
  if (indexed) source->set("index", std::to_string(disk.source.index));
  arrange_attributes(*source, names::kSourceAttributes, {});
  return source;
}

Element format_mirror(const Mirror& mirror) {
  const StorageSource& source = mirror.source;
  Element element = Element::named("mirror");
  element.set("type", name_of(source.type));
  // Repeated as libvirt before 1.2.6 wrote them.
  if (mirror.job == "copy" && source.type == StorageType::file)
    element.set_if("file", source.path).set_if("format", source.format);
  element.set("job", mirror.job).set_if("ready", mirror.ready);
  arrange_attributes(element, names::kLayerAttributes, source.layer_attributes);
  format_layer(element, source, Form::live, true);
  return element;
}

Element format_iotune(const IoTune& iotune) {
  Element element = Element::named("iotune");
  for (std::size_t i = 0; i < kIoTuneLimits.size(); ++i) {
    if (i == kIoTuneGroupBefore && !iotune.group_name.empty())
      element.add(Element::named("group_name")).add_text(iotune.group_name);
    const auto limit = iotune.limits.find(kIoTuneLimits[i]);
    if (limit != iotune.limits.end() && limit->second != 0)
      element.add(Element::named(kIoTuneLimits[i])).add_text(std::to_string(limit->second));
  }
  return element;
}

Element format_target(const DiskDevice& disk) {
  Element target = Element::named("target");
  target.set("dev", disk.target).set_if("bus", disk.bus);
  arrange_attributes(target, names::kTargetAttributes, disk.target_attributes);
  return target;
}

void add_flags(const DiskDevice& disk, Form form, std::vector<Element>& made) {
  if (disk.read_only) made.push_back(Element::named("readonly"));
  if (disk.shareable) made.push_back(Element::named("shareable"));
  if (disk.transient) {
    made.push_back(Element::named("transient"));
    made.back().attributes = disk.transient_attributes;
  }
  if (!disk.serial.empty()) made.push_back(Element::named("serial").add_text(disk.serial));
  if (!disk.alias.empty() && (form == Form::live || disk.alias.starts_with("ua-"))) {
    made.push_back(Element::named("alias").set("name", disk.alias));
    arrange_attributes(made.back(), {}, disk.alias_attributes);
  }
}

}  // namespace

Element format_disk(const DiskDevice& disk, Form form) {
  Element element = Element::named("disk");
  element.set("type", name_of(disk.source.type)).set("device", disk.device);
  if (disk.snapshot != "no" || !disk.read_only) element.set_if("snapshot", disk.snapshot);
  arrange_attributes(element, names::kDiskAttributes, disk.other_attributes);

  std::vector<Element> made;
  if (Element driver = format_driver(disk); says_something(driver))
    made.push_back(std::move(driver));
  if (disk.auth_in_disk && disk.source.auth) made.push_back(format_auth(*disk.source.auth));
  if (auto source = format_disk_source(disk, form)) made.push_back(std::move(*source));
  if (auto backing = format_backing(disk.source.backing, form)) made.push_back(std::move(*backing));
  if (disk.mirror && form == Form::live) made.push_back(format_mirror(*disk.mirror));
  made.push_back(format_target(disk));
  if (!disk.iotune.empty()) made.push_back(format_iotune(disk.iotune));
  add_flags(disk, form, made);
  if (disk.encryption_in_disk && disk.source.encryption)
    made.push_back(format_encryption(*disk.source.encryption));
  arrange(element, names::kDiskChildren, std::move(made), disk.others);
  return element;
}

}  // namespace conformance::xml
