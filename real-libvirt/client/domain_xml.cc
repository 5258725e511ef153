#include "real-libvirt/client/domain_xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <memory>
#include <string_view>

namespace real_libvirt {
namespace {

using conformance::DiskDefinition;
using conformance::MirrorState;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '\'')
      result += "&apos;";
    else
      result += c;
  }
  return result;
}

std::string attribute(std::string_view name, std::string_view value) {
  return " " + std::string(name) + "='" + escaped(value) + "'";
}

std::string disk_xml(const DiskDefinition& disk) {
  return "<disk type='file' device='disk'><driver name='qemu'" + attribute("type", disk.format) +
         "/><source" + attribute("file", disk.path) + "/><target" + attribute("dev", disk.target) +
         " bus='virtio'/></disk>";
}

// --- reading -------------------------------------------------------------------------------------

const xmlNode* child(const xmlNode* parent, std::string_view name) {
  if (parent == nullptr) return nullptr;
  for (const xmlNode* node = parent->children; node != nullptr; node = node->next)
    if (node->type == XML_ELEMENT_NODE && reinterpret_cast<const char*>(node->name) == name)
      return node;
  return nullptr;
}

std::optional<std::string> value(const xmlNode* node, const char* name) {
  if (node == nullptr) return std::nullopt;
  xmlChar* const text = ::xmlGetProp(node, reinterpret_cast<const xmlChar*>(name));
  if (text == nullptr) return std::nullopt;
  std::string result(reinterpret_cast<const char*>(text));
  ::xmlFree(text);
  return result;
}

std::string path_of(const xmlNode* element) {
  const xmlNode* const source = child(element, "source");
  return value(source, "file").value_or(value(source, "dev").value_or(""));
}

const xmlNode* find_disk(const xmlNode* root, const std::string& target) {
  const xmlNode* const devices = child(root, "devices");
  if (devices == nullptr) return nullptr;
  for (const xmlNode* node = devices->children; node != nullptr; node = node->next)
    if (node->type == XML_ELEMENT_NODE &&
        std::string_view(reinterpret_cast<const char*>(node->name)) == "disk" &&
        value(child(node, "target"), "dev") == target)
      return node;
  return nullptr;
}

LiveDisk read(const xmlNode* disk) {
  LiveDisk result;
  result.alias = value(child(disk, "alias"), "name").value_or("");
  result.chain.links.push_back({path_of(disk), value(child(disk, "driver"), "type").value_or("")});
  const xmlNode* beneath = child(disk, "backingStore");
  for (; child(beneath, "source") != nullptr; beneath = child(beneath, "backingStore"))
    result.chain.links.push_back(
        {path_of(beneath), value(child(beneath, "format"), "type").value_or("")});
  result.chain.terminated = beneath != nullptr;
  if (const xmlNode* const mirror = child(disk, "mirror"))
    result.mirror = MirrorState{.path = path_of(mirror),
                                .format = value(child(mirror, "format"), "type").value_or(""),
                                .job = value(mirror, "job").value_or(""),
                                .ready = value(mirror, "ready").value_or("")};
  return result;
}

}  // namespace

std::string to_xml(const DomainXml& domain) {
  std::string disks;
  for (const DiskDefinition& disk : domain.disks) disks += disk_xml(disk);
  return "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>" +
         escaped(domain.name) +
         "</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
         "<os><type arch='x86_64' "
         "machine='pc'>hvm</type></os><features><acpi/></features><devices><emulator>" +
         escaped(domain.emulator) + "</emulator>" + disks +
         "<controller type='usb' model='none'/><memballoon model='none'/></devices>"
         "<qemu:commandline><qemu:env name='UNDERSTUDY_CONSOLE'" +
         attribute("value", domain.console) +
         "/></qemu:commandline><qemu:capabilities>"
         "<qemu:del capability='cpu-unavailable-features'/></qemu:capabilities></domain>";
}

std::expected<LiveDisk, std::string> read_disk(const std::string& xml, const std::string& disk) {
  const std::unique_ptr<xmlDoc, decltype(&::xmlFreeDoc)> document(
      ::xmlReadMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr,
                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING),
      ::xmlFreeDoc);
  if (!document) return std::unexpected("the live XML is no XML");
  const xmlNode* const found = find_disk(::xmlDocGetRootElement(document.get()), disk);
  if (found == nullptr) return std::unexpected("the live XML has no disk '" + disk + "'");
  return read(found);
}

}  // namespace real_libvirt
