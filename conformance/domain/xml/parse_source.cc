// <source>, <backingStore>, <auth>, <encryption> as libvirt 9.0 reads them.

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include "conformance/domain/xml/errors.h"
#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/number.h"
#include "conformance/domain/xml/storage_source.h"

namespace conformance::xml {
namespace {

using namespace std::string_view_literals;

std::string value_of(const Element& element, std::string_view attribute) {
  const std::string* value = element.attribute(attribute);
  return value == nullptr ? "" : *value;
}

// The uuid in its usual form; nothing if it is none (virUUIDParse).
std::optional<std::string> uuid_of(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  std::string digits;
  for (const char c : text) {
    const bool whole_byte = digits.size() % 2 == 0;
    if (digits.size() == 32 && blank(c)) continue;
    if (digits.size() < 32 && whole_byte && (c == '-' || blank(c))) continue;
    if (digits.size() == 32 || std::isxdigit(static_cast<unsigned char>(c)) == 0)
      return std::nullopt;
    digits += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (digits.size() != 32) return std::nullopt;
  for (const std::size_t dash : {20U, 16U, 12U, 8U}) digits.insert(dash, "-");
  return digits;
}

// uuid='…' or usage='…' (virSecretLookupParseSecret).
DomainResult<SecretReference> parse_secret(const Element& element) {
  const std::string* uuid = element.attribute("uuid");
  const std::string* usage = element.attribute("usage");
  if (uuid == nullptr && usage == nullptr)
    return errors::make("NONE", "XML_ERROR", "missing secret uuid or usage attribute");
  if (uuid != nullptr && usage != nullptr)
    return errors::make("NONE", "XML_ERROR", "either secret uuid or usage expected");
  SecretReference secret;
  secret.type = value_of(element, "type");
  if (usage != nullptr) {
    secret.by = SecretReference::By::usage;
    secret.value = *usage;
    return secret;
  }
  const auto canonical = uuid_of(*uuid);
  if (!canonical) return errors::bad_secret_uuid();
  secret.value = *canonical;
  return secret;
}

unsigned default_port(std::string_view protocol) {
  static constexpr std::pair<std::string_view, unsigned> kPorts[] = {
      {"nbd", 10809}, {"sheepdog", 7000}, {"gluster", 24007}, {"iscsi", 3260},
      {"http", 80},   {"https", 443},     {"ftp", 21},        {"ftps", 990},
      {"tftp", 69},   {"ssh", 22},        {"vxhs", 9999},
  };
  const auto* found =
      std::ranges::find(kPorts, protocol, &std::pair<std::string_view, unsigned>::first);
  return found == std::end(kPorts) ? 0 : found->second;
}

DomainResult<Host> parse_host(const Element& element, std::string_view protocol) {
  Host host;
  const std::string* transport = element.attribute("transport");
  if (transport != nullptr) {
    host.transport = *transport;
    if (!names::has(names::kTransports, *transport))
      return errors::unsupported("DOMAIN", "unknown protocol transport type '" + *transport + "'");
  }
  const std::string* socket = element.attribute("socket");
  if (host.transport == "unix") {
    if (socket == nullptr) return errors::domain_xml("missing socket for unix transport");
    host.socket = *socket;
    return host;
  }
  if (socket != nullptr)
    return errors::domain_xml(fmt::format("transport '{}' does not support socket attribute",
                                          transport == nullptr ? "(null)" : *transport));
  const std::string* name = element.attribute("name");
  if (name == nullptr) return errors::domain_xml("missing name for host");
  host.name = *name;
  if (const std::string* port = element.attribute("port")) {
    const auto value = number<unsigned>(*port);
    if (!value)
      return errors::make("NONE", "INVALID_ARG", "failed to parse port number '" + *port + "'");
    if (*value > 65535)
      return errors::make("NONE", "INVALID_ARG", "port '" + *port + "' out of range");
    host.port = *value;
  }
  if (host.port == 0 && host.transport == "tcp") host.port = default_port(protocol);
  return host;
}

DomainResult<void> parse_network(const Element& element, StorageSource& source) {
  const std::string* protocol = element.attribute("protocol");
  if (protocol == nullptr) return errors::missing_attribute("protocol", "source");
  if (!names::has(names::kProtocols, *protocol))
    return errors::bad_value("protocol", "source", *protocol);
  source.protocol = *protocol;
  const std::string* name = element.attribute("name");
  // libvirt accepts an empty name, or dies of it (iscsi), and cannot read what it writes then.
  if ((name == nullptr || name->empty()) && *protocol != "nbd")
    return errors::domain_xml("missing name for disk source");
  if (name != nullptr) source.name = *name;
  const std::size_t slash = source.name.find('/');
  if ((*protocol == "rbd" || *protocol == "gluster") && (slash == std::string::npos || slash == 0))
    return errors::domain_xml("can't split path '" + source.name +
                              "' into pool name and image name");
  if (*protocol == "iscsi" && slash == std::string::npos) source.name += "/0";
  for (const Element& child : element.children) {
    if (child.name != "host") continue;
    auto host = parse_host(child, *protocol);
    if (!host) return std::unexpected(host.error());
    source.hosts.push_back(std::move(*host));
  }
  return {};
}

DomainResult<void> parse_volume_source(const Element& element, StorageSource& source) {
  source.pool = value_of(element, "pool");
  source.volume = value_of(element, "volume");
  if (source.pool.empty() != source.volume.empty())
    return errors::domain_xml(
        "'pool' and 'volume' must be specified together for 'pool' type source");
  if (const std::string* mode = element.attribute("mode")) {
    if (!names::has(names::kVolumeModes, *mode))
      return errors::unsupported("DOMAIN",
                                 "unknown source mode '" + *mode + "' for volume type disk");
    source.mode = *mode;
  }
  return {};
}

// Reads all <seclabel>; those that say nothing are dropped, as libvirt does.
DomainResult<void> parse_labels(const Element& element, Form form, StorageSource& source) {
  std::set<std::string> models;
  for (const Element& child : element.children) {
    if (child.name != "seclabel") continue;
    SecurityLabel label;
    label.model = value_of(child, "model");
    if (!label.model.empty() && !models.insert(label.model).second)
      return errors::make("DOMAIN", "XML_DETAIL",
                          "seclabel for model " + label.model + " is already provided");
    if (const std::string* relabel = child.attribute("relabel")) {
      if (!names::has(names::kYesNo, *relabel))
        return errors::bad_value("relabel", "seclabel", *relabel);
      label.relabel = *relabel == "yes";
    }
    label.label_skip = form == Form::live && value_of(child, "labelskip") == "yes";
    if (const Element* text = child.child("label")) label.label = text->text();
    if (!label.relabel && !label.label.empty())
      return errors::domain_xml("Cannot specify a label if relabelling is turned off. model=" +
                                label.model);
    if (!label.relabel || !label.label.empty() || label.label_skip)
      source.labels.push_back(std::move(label));
  }
  return {};
}

// The attributes of <source> that are read, by type.
Names read_attributes(StorageType type) {
  static constexpr std::array kFile{"file"sv, "index"sv, "startupPolicy"sv};
  static constexpr std::array kBlock{"dev"sv, "index"sv, "startupPolicy"sv};
  static constexpr std::array kDir{"dir"sv, "index"sv, "startupPolicy"sv};
  static constexpr std::array kNetwork{"protocol"sv, "name"sv, "index"sv, "startupPolicy"sv};
  static constexpr std::array kVolume{"pool"sv, "volume"sv, "mode"sv, "index"sv, "startupPolicy"sv};
  static constexpr std::array kOther{"index"sv, "startupPolicy"sv};
  switch (type) {
    case StorageType::file:
      return kFile;
    case StorageType::block:
      return kBlock;
    case StorageType::dir:
      return kDir;
    case StorageType::network:
      return kNetwork;
    case StorageType::volume:
      return kVolume;
    case StorageType::nvme:
    case StorageType::vhostuser:
      break;
  }
  return kOther;
}

// NVMe and vhost-user sources are kept as they are; that they are whole is checked.
DomainResult<void> check_attributes(const Element& element, Names wanted, std::string_view of) {
  for (const std::string_view attribute : wanted)
    if (element.attribute(attribute) == nullptr)
      return errors::domain_xml(fmt::format("missing '{}' attribute {}", attribute, of));
  return {};
}

DomainResult<void> parse_by_type(const Element& element, StorageSource& source) {
  switch (source.type) {
    case StorageType::file:
      source.path = value_of(element, "file");
      return {};
    case StorageType::block:
      source.path = value_of(element, "dev");
      return {};
    case StorageType::dir:
      source.path = value_of(element, "dir");
      return {};
    case StorageType::network:
      return parse_network(element, source);
    case StorageType::volume:
      return parse_volume_source(element, source);
    case StorageType::nvme:
      return check_attributes(element, std::array{"type"sv, "namespace"sv}, "to disk source");
    case StorageType::vhostuser:
      return check_attributes(element, std::array{"type"sv, "path"sv}, "for vhostuser disk source");
  }
  return {};
}

DomainResult<void> parse_chain(Element& parent, Form form, StorageSource& above, unsigned depth,
                               const std::string& top) {
  Element* element = parent.child("backingStore");
  if (element == nullptr) return {};
  const std::string* type = element->attribute("type");
  if (type == nullptr) {
    above.backing = Backing::terminated();
    return {};
  }
  if (depth == kMaxChain) return errors::chain_too_deep(top);
  const Element* format = element->child("format");
  if (format == nullptr || format->attribute("type") == nullptr)
    return errors::domain_xml("missing disk backing store format");
  if (element->child("source") == nullptr)
    return errors::domain_xml("missing disk backing store source");
  auto layer = parse_layer(*element, form, *type);
  if (!layer) return std::unexpected(layer.error());
  const auto index = parse_index(*element, form);
  if (!index) return std::unexpected(index.error());
  layer->index = *index;
  if (auto beneath = parse_chain(*element, form, *layer, depth + 1, top); !beneath) return beneath;
  layer->layer_others = keep_others(*element, names::kLayerChildren, names::kLayerChildren);
  above.backing = Backing::of(std::move(*layer));
  return {};
}

}  // namespace

DomainResult<unsigned> parse_index(const Element& element, Form form) {
  const std::string* index = element.attribute("index");
  if (index == nullptr || form == Form::inactive) return 0U;
  const auto value = number<unsigned>(*index);
  if (!value) return errors::domain_xml("invalid storage source index '" + *index + "'");
  return *value;
}

DomainResult<Authentication> parse_auth(const Element& element, const StorageSource& source) {
  Authentication auth;
  const std::string* username = element.attribute("username");
  if (username == nullptr || username->empty())
    return errors::make("STORAGE", "XML_ERROR", "missing username for auth");
  auth.username = *username;
  if (const std::string* type = element.attribute("type")) {
    if (!names::has(names::kAuthTypes, *type))
      return errors::unsupported("STORAGE", "unknown auth type '" + *type + "'");
    auth.type = *type;
  }
  const Element* within = element.child("secret");
  if (within == nullptr)
    return errors::make("STORAGE", "XML_ERROR", "Missing <secret> element in auth");
  auto secret = parse_secret(*within);
  if (!secret) return std::unexpected(secret.error());
  const std::string* type = within->attribute("type");
  if (type == nullptr || !names::has(names::kSecretTypes, *type))
    return errors::unsupported(
        "DOMAIN", "unknown secret type '" + (type == nullptr ? "<null>" : *type) + "'");
  static constexpr std::array kWithout{"nbd"sv,  "sheepdog"sv, "gluster"sv,
                                       "tftp"sv, "vxhs"sv,     "nfs"sv};
  if (names::has(kWithout, source.protocol))
    return errors::unsupported(
        "DOMAIN", "authentication is not supported for protocol '" + source.protocol + "'");
  if ((source.protocol == "rbd" && *type != "ceph") ||
      (source.protocol == "iscsi" && *type != "iscsi"))
    return errors::unsupported("DOMAIN", "invalid secret type '" + *type + "'");
  auth.secret = std::move(*secret);
  return auth;
}

DomainResult<Encryption> parse_encryption(Element& element, bool of_volume) {
  static constexpr std::array kOrder{"secret"sv, "cipher"sv, "ivgen"sv};
  static constexpr std::array kRead{"secret"sv};
  Encryption encryption;
  const std::string* format = element.attribute("format");
  if (format == nullptr)
    return errors::make("STORAGE", "XML_ERROR", "unknown volume encryption format");
  if (!names::has(names::kEncryptionFormats, *format))
    return errors::unsupported("STORAGE", "unknown volume encryption format type " + *format);
  encryption.format = *format;
  if (const std::string* engine = element.attribute("engine")) {
    if (!names::has(names::kEncryptionEngines, *engine))
      return errors::bad_value("engine", "encryption", *engine);
    encryption.engine = *engine;
  }
  for (const Element& child : element.children) {
    if (child.name != "secret") continue;
    const std::string* type = child.attribute("type");
    if (type == nullptr)
      return errors::make("STORAGE", "XML_ERROR", "unknown volume encryption secret type");
    if (*type != "passphrase")
      return errors::unsupported("STORAGE", "unknown volume encryption secret type " + *type);
    auto secret = parse_secret(child);
    if (!secret) return std::unexpected(secret.error());
    encryption.secrets.push_back(std::move(*secret));
  }
  if (!of_volume && element.child("cipher") != nullptr)
    return errors::unsupported("DOMAIN",
                               "supplying <cipher> for domain disk definition is unnecessary");
  encryption.others = keep_others(element, kOrder, kRead);
  return encryption;
}

DomainResult<void> parse_source(Element& element, Form form, StorageSource& source) {
  static constexpr std::array kRead{"host"sv, "auth"sv, "encryption"sv, "seclabel"sv};
  static constexpr std::array kReadWithoutHost{"auth"sv, "encryption"sv, "seclabel"sv};
  const bool network = source.type == StorageType::network;
  if (auto read = parse_by_type(element, source); !read) return read;
  if (const Element* auth = element.child("auth")) {
    auto read = parse_auth(*auth, source);
    if (!read) return std::unexpected(read.error());
    source.auth = std::move(*read);
  }
  if (Element* encryption = element.child("encryption")) {
    auto read = parse_encryption(*encryption, false);
    if (!read) return std::unexpected(read.error());
    source.encryption = std::move(*read);
  }
  if (auto read = parse_labels(element, form, source); !read) return read;
  source.other_attributes = other_attributes(element, read_attributes(source.type));
  source.others = keep_others(element, names::kSourceChildren,
                              network ? Names(kRead) : Names(kReadWithoutHost));
  return {};
}

DomainResult<StorageSource> parse_layer(Element& element, Form form, const std::string& type) {
  static constexpr std::array kFormatAttributes{"type"sv};
  StorageSource source;
  const auto known = storage_type_of(type);
  if (!known) return errors::domain_xml("unknown storage source type '" + type + "'");
  source.type = *known;
  if (Element* format = element.child("format")) {
    const std::string* value = format->attribute("type");
    if (value != nullptr && !names::has(names::kFormats, *value))
      return errors::domain_xml("unknown storage source format '" + *value + "'");
    if (value != nullptr) source.format = *value;
    source.format_attributes = other_attributes(*format, kFormatAttributes);
    source.format_others = keep_others(*format, {}, {});
  }
  if (Element* within = element.child("source"))
    if (auto read = parse_source(*within, form, source); !read)
      return std::unexpected(read.error());
  source.layer_attributes = other_attributes(element, names::kLayerAttributes);
  return source;
}

DomainResult<void> parse_backing(Element& parent, Form form, StorageSource& above) {
  return parse_chain(parent, form, above, 0, above.shown_name());
}

}  // namespace conformance::xml
