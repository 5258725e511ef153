#include "conformance/domain/xml/volume.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <limits>
#include <utility>

#include "conformance/domain/xml/errors.h"
#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/number.h"
#include "conformance/domain/xml/read_document.h"
#include "sim/base/bytes.h"

namespace conformance::xml {
namespace {

using namespace std::string_view_literals;

constexpr DocumentKind kKind{"volume", "(storage_volume_definition)", "STORAGE"};
constexpr std::array kOrder{"name"sv,       "key"sv,      "source"sv, "capacity"sv,
                            "allocation"sv, "physical"sv, "target"sv, "backingStore"sv};
constexpr std::array kTargetOrder{"path"sv,       "format"sv, "permissions"sv, "timestamps"sv,
                                  "encryption"sv, "compat"sv, "clusterSize"sv, "features"sv};

errors::Failure storage_xml(std::string message) {
  return errors::make("STORAGE", "XML_ERROR", std::move(message));
}

// `value` times the unit: "KiB", "k" and "K" are 1024, "KB" is 1000; case does not matter
// (virScaleInteger).
DomainResult<std::uint64_t> scale(std::uint64_t value, const std::string& unit) {
  static constexpr std::string_view kPowers = "KMGTPE";
  std::string upper;
  for (const char c : unit) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (upper.empty() || upper == "B" || upper == "BYTE" || upper == "BYTES") return value;
  const std::size_t power = kPowers.find(upper.front());
  const std::string rest = upper.substr(1);
  if (power == std::string_view::npos || (!rest.empty() && rest != "B" && rest != "IB"))
    return errors::make("NONE", "INVALID_ARG", "unknown suffix '" + unit + "'");
  std::optional<std::uint64_t> scaled = value;
  for (std::size_t i = 0; i <= power && scaled; ++i)
    scaled = sim::checked_mul(*scaled, rest == "B" ? 1000 : 1024);
  if (!scaled)
    return errors::make("NONE", "OVERFLOW", fmt::format("value too large: {}{}", value, unit));
  return *scaled;
}

DomainResult<std::uint64_t> parse_size(const Element& element) {
  const std::string text = element.text();
  const auto value = number<std::uint64_t>(text);
  if (!value) return storage_xml("malformed capacity element");  // of the allocation too
  const std::string* unit = element.attribute("unit");
  return scale(*value, unit == nullptr ? "" : *unit);
}

// <path> and <format> of <target> or <backingStore>.
DomainResult<StorageSource> parse_image(Element& element) {
  static constexpr std::array kRead{"path"sv, "format"sv, "encryption"sv};
  StorageSource source;
  if (const Element* path = element.child("path")) source.path = path->text();
  source.format = "raw";
  if (const Element* format = element.child("format")) {
    const std::string* type = format->attribute("type");
    if (type != nullptr && !names::has(names::kFormats, *type))
      return errors::unsupported("STORAGE", "unknown volume format type " + *type);
    if (type != nullptr) source.format = *type;
  }
  if (Element* encryption = element.child("encryption")) {
    auto read = parse_encryption(*encryption, true);
    if (!read) return std::unexpected(read.error());
    source.encryption = std::move(*read);
  }
  source.layer_attributes = element.attributes;
  source.layer_others = keep_others(element, kTargetOrder, kRead);
  return source;
}

DomainResult<void> parse_sizes(const Element& root, VolumeXml& volume) {
  const Element* capacity = root.child("capacity");
  if (capacity == nullptr || capacity->text().empty())
    return storage_xml("missing capacity element");
  auto size = parse_size(*capacity);
  if (!size) return std::unexpected(size.error());
  volume.capacity = *size;
  const Element* allocation = root.child("allocation");
  if (allocation == nullptr || allocation->text().empty()) return {};
  size = parse_size(*allocation);
  if (!size) return std::unexpected(size.error());
  volume.allocation = *size;
  return {};
}

StorageType source_type(std::string_view volume_type) {
  return storage_type_of(volume_type).value_or(StorageType::file);
}

Element format_image(std::string_view name, const StorageSource& source) {
  Element element = Element::named(name);
  element.attributes = source.layer_attributes;
  std::vector<Element> made;
  if (!source.path.empty()) made.push_back(Element::named("path").add_text(source.path));
  if (!source.format.empty()) made.push_back(Element::named("format").set("type", source.format));
  if (source.encryption) made.push_back(format_encryption(*source.encryption));
  arrange(element, kTargetOrder, std::move(made), source.layer_others);
  return element;
}

Element format_size(std::string_view name, std::uint64_t bytes) {
  return Element::named(name).set("unit", "bytes").add_text(std::to_string(bytes));
}

}  // namespace

DomainResult<VolumeXml> parse_volume(const std::string& text) {
  static constexpr std::array kRead{"name"sv, "capacity"sv, "allocation"sv, "target"sv,
                                    "backingStore"sv};
  static constexpr std::array kReadAttributes{"type"sv};
  auto root = read_document(text, kKind);
  if (!root) return std::unexpected(std::move(root).error());
  VolumeXml volume;
  const Element* name = root->child("name");
  if (name == nullptr) return storage_xml("missing volume name element");
  volume.name = name->text();
  if (const std::string* type = root->attribute("type")) {
    if (!names::has(names::kVolumeTypes, *type))
      return errors::unsupported("STORAGE", "unknown volume type '" + *type + "'");
    volume.type = *type;
  }
  if (auto read = parse_sizes(*root, volume); !read) return std::unexpected(read.error());
  Element none;
  Element* target = root->child("target");
  auto source = parse_image(target == nullptr ? none : *target);
  if (!source) return std::unexpected(source.error());
  volume.source = std::move(*source);
  volume.source.type = source_type(volume.type);
  if (Element* backing = root->child("backingStore")) {
    auto beneath = parse_image(*backing);
    if (!beneath) return std::unexpected(beneath.error());
    volume.source.backing =
        beneath->path.empty() ? Backing::terminated() : Backing::of(std::move(*beneath));
  }
  volume.other_attributes = other_attributes(*root, kReadAttributes);
  volume.others = keep_others(*root, kOrder, kRead);
  return volume;
}

std::string format_volume(const VolumeXml& volume) {
  Element root = Element::named("volume");
  root.set_if("type", volume.type);
  arrange_attributes(root, {}, volume.other_attributes);
  std::vector<Element> made;
  made.push_back(Element::named("name").add_text(volume.name));
  made.push_back(format_size("capacity", volume.capacity));
  if (volume.allocation) made.push_back(format_size("allocation", *volume.allocation));
  made.push_back(format_image("target", volume.source));
  if (const StorageSource* beneath = volume.source.backing.source())
    made.push_back(format_image("backingStore", *beneath));
  arrange(root, kOrder, std::move(made), volume.others);
  return format_element(root);
}

}  // namespace conformance::xml
