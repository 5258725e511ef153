// <source>, <backingStore>, <auth>, <encryption> as libvirt 9.0 writes them.

#include <utility>

#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/storage_source.h"

namespace conformance::xml {
namespace {

using namespace std::string_view_literals;

Element format_secret(const SecretReference& secret) {
  Element element = Element::named("secret");
  element.set("type", secret.type);
  element.set(secret.by == SecretReference::By::uuid ? "uuid" : "usage", secret.value);
  return element;
}

Element format_host(const Host& host) {
  Element element = Element::named("host");
  if (host.transport != "unix") element.set("name", host.name);
  if (host.port != 0) element.set("port", std::to_string(host.port));
  if (host.transport != "tcp") element.set("transport", host.transport);
  if (host.transport == "unix") element.set("socket", host.socket);
  return element;
}

Element format_label(const SecurityLabel& label) {
  Element element = Element::named("seclabel");
  element.set_if("model", label.model);
  if (label.label_skip) return element.set("labelskip", "yes");
  element.set("relabel", label.relabel ? "yes" : "no");
  if (!label.label.empty()) element.add(Element::named("label")).add_text(label.label);
  return element;
}

void set_by_type(Element& element, const StorageSource& source) {
  switch (source.type) {
    case StorageType::file:
      element.set_if("file", source.path);
      break;
    case StorageType::block:
      element.set_if("dev", source.path);
      break;
    case StorageType::dir:
      element.set_if("dir", source.path);
      break;
    case StorageType::network:
      element.set_if("protocol", source.protocol).set_if("name", source.name);
      break;
    case StorageType::volume:
      element.set_if("pool", source.pool).set_if("volume", source.volume);
      element.set_if("mode", source.mode);
      break;
    case StorageType::nvme:
    case StorageType::vhostuser:
      break;
  }
}

}  // namespace

Element format_auth(const Authentication& auth) {
  Element element = Element::named("auth");
  element.set_if("type", auth.type).set("username", auth.username);
  element.add(format_secret(auth.secret));
  return element;
}

Element format_encryption(const Encryption& encryption) {
  static constexpr std::array kOrder{"secret"sv, "cipher"sv, "ivgen"sv};
  Element element = Element::named("encryption");
  element.set("format", encryption.format).set_if("engine", encryption.engine);
  std::vector<Element> made;
  for (const SecretReference& secret : encryption.secrets) made.push_back(format_secret(secret));
  arrange(element, kOrder, std::move(made), encryption.others);
  return element;
}

std::optional<Element> format_source(const StorageSource& source, Inside inside) {
  Element element = Element::named("source");
  set_by_type(element, source);
  arrange_attributes(element, names::kSourceAttributes, source.other_attributes);
  std::vector<Element> made;
  if (source.type == StorageType::network)
    for (const Host& host : source.hosts) made.push_back(format_host(host));
  else
    for (const SecurityLabel& label : source.labels) made.push_back(format_label(label));
  if (inside.auth && source.auth) made.push_back(format_auth(*source.auth));
  if (inside.encryption && source.encryption) made.push_back(format_encryption(*source.encryption));
  arrange(element, names::kSourceChildren, std::move(made), source.others);
  if (element.attributes.empty() && element.children.empty()) return std::nullopt;
  return element;
}

void format_layer(Element& parent, const StorageSource& source, Form form, bool index_in_source) {
  std::vector<Element> made;
  Element format = Element::named("format");
  format.set_if("type", source.format);
  arrange_attributes(format, {}, source.format_attributes);
  arrange(format, {}, {}, source.format_others);
  if (!format.attributes.empty() || !format.children.empty()) made.push_back(std::move(format));
  // An empty <source/>, which libvirt leaves out and then misses.
  Element element = format_source(source).value_or(Element::named("source"));
  if (index_in_source && form == Form::live && source.index != 0)
    element.set("index", std::to_string(source.index));
  made.push_back(std::move(element));
  if (auto backing = format_backing(source.backing, form)) made.push_back(std::move(*backing));
  arrange(parent, names::kLayerChildren, std::move(made), source.layer_others);
}

std::optional<Element> format_backing(const Backing& backing, Form form) {
  if (backing.knowledge() == Backing::Knowledge::unknown) return std::nullopt;
  if (form == Form::inactive && backing.detected) return std::nullopt;
  Element element = Element::named("backingStore");
  const StorageSource* source = backing.source();
  if (source == nullptr) return element;
  element.set("type", name_of(source->type));
  if (form == Form::live && source->index != 0) element.set("index", std::to_string(source->index));
  arrange_attributes(element, names::kLayerAttributes, source->layer_attributes);
  format_layer(element, *source, form, false);
  return element;
}

}  // namespace conformance::xml
