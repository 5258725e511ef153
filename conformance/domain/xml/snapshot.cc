#include "conformance/domain/xml/snapshot.h"

#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "conformance/domain/xml/errors.h"
#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/read_document.h"

namespace conformance::xml {
namespace {

using namespace std::string_view_literals;

constexpr DocumentKind kKind{"domainsnapshot", "(domain_snapshot)", "DOMAIN_SNAPSHOT"};
constexpr std::array kOrder{"name"sv,           "description"sv, "state"sv, "parent"sv,
                            "creationTime"sv,   "memory"sv,      "disks"sv, "domain"sv,
                            "inactiveDomain"sv, "cookie"sv,      "active"sv};
constexpr std::string_view kNoCreationTime = "missing creationTime from existing snapshot";
constexpr std::array kDiskOrder{"driver"sv, "source"sv};

errors::Failure snapshot_xml(std::string message) {
  return errors::make("DOMAIN_SNAPSHOT", "XML_ERROR", std::move(message));
}
errors::Failure unsupported(std::string message) {
  return errors::unsupported("DOMAIN_SNAPSHOT", std::move(message));
}

DomainResult<void> read_mode(const Element& element, std::string& into) {
  const std::string* mode = element.attribute("snapshot");
  if (mode == nullptr) return {};
  if (!names::has(names::kSnapshots, *mode))
    return errors::bad_value("snapshot", element.name, *mode);
  into = *mode;
  return {};
}

DomainResult<void> parse_memory(const Element& element, SnapshotUse use, SnapshotXml& snapshot) {
  static constexpr std::array kRead{"snapshot"sv, "file"sv};
  SnapshotMemory memory;
  if (auto read = read_mode(element, memory.snapshot); !read) return read;
  if (const std::string* file = element.attribute("file")) memory.file = *file;
  if (memory.snapshot == "manual")
    return snapshot_xml("'manual' memory snapshot mode not supported");
  if (memory.snapshot.empty() && !memory.file.empty()) memory.snapshot = "external";
  if (memory.snapshot == "external" && memory.file.empty())
    return snapshot_xml("external memory snapshots require a filename");
  if (memory.snapshot != "external" && !memory.file.empty())
    return snapshot_xml("memory filename '" + memory.file + "' requires external snapshot");
  const bool is_offline = use == SnapshotUse::disks_alone ||
                          (use == SnapshotUse::redefined &&
                           (snapshot.state == "shutoff" || snapshot.state == "disk-snapshot"));
  if (is_offline && !memory.snapshot.empty() && memory.snapshot != "no")
    return snapshot_xml("memory state cannot be saved with offline or disk-only snapshot");
  if (!memory.file.empty() && !memory.file.starts_with('/'))
    return snapshot_xml("memory snapshot file path (" + memory.file + ") must be absolute");
  memory.other_attributes = other_attributes(element, kRead);
  snapshot.memory = std::move(memory);
  return {};
}

// type, <driver> and <source>.
DomainResult<void> parse_disk_image(Element& element, SnapshotDisk& disk) {
  static constexpr std::array kDriverRead{"type"sv};
  const std::string* type = element.attribute("type");
  Element* driver = element.child("driver");
  Element* within = element.child("source");
  if (type == nullptr && driver == nullptr && within == nullptr) return {};
  StorageSource source;
  if (type != nullptr) {
    const auto known = storage_type_of(*type);
    if (!known) return errors::bad_value("type", "disk", *type);
    source.type = *known;
  }
  if (source.type != StorageType::file && source.type != StorageType::block &&
      source.type != StorageType::network)
    return snapshot_xml("unsupported disk snapshot type '" + std::string(name_of(source.type)) +
                        "'");
  if (driver != nullptr) {
    const std::string* format = driver->attribute("type");
    if (format != nullptr && !names::has(names::kFormats, *format))
      return unsupported("unknown disk snapshot driver '" + *format + "'");
    if (format != nullptr) source.format = *format;
    disk.driver_attributes = other_attributes(*driver, kDriverRead);
    source.format_others = keep_others(*driver, {}, {});
  }
  if (within != nullptr)
    if (auto read = parse_source(*within, Form::inactive, source); !read) return read;
  if (!source.path.empty() && !source.path.starts_with('/'))
    return snapshot_xml("disk snapshot image path '" + source.path + "' must be absolute");
  disk.source = std::move(source);
  return {};
}

DomainResult<SnapshotDisk> parse_disk(Element& element) {
  static constexpr std::array kRead{"name"sv, "snapshot"sv, "type"sv};
  SnapshotDisk disk;
  const std::string* name = element.attribute("name");
  if (name == nullptr)
    return errors::make("DOMAIN_SNAPSHOT", "INTERNAL_ERROR",
                        "missing name from disk snapshot element");
  disk.name = *name;
  if (auto read = read_mode(element, disk.snapshot); !read) return std::unexpected(read.error());
  if (auto read = parse_disk_image(element, disk); !read) return std::unexpected(read.error());
  const bool file = disk.source && !disk.source->path.empty();
  if (disk.snapshot.empty() && (file || (disk.source && !disk.source->format.empty())))
    disk.snapshot = "external";
  if (file && disk.snapshot != "external")
    return unsupported("file '" + disk.source->path + "' for disk '" + disk.name +
                       "' requires use of external snapshot mode");
  disk.other_attributes = other_attributes(element, kRead);
  disk.others = keep_others(element, kDiskOrder, kDiskOrder);
  return disk;
}

DomainResult<void> parse_disks(Element& element, SnapshotXml& snapshot) {
  snapshot.disks.emplace();
  std::set<std::string> seen;
  for (Element& child : element.children) {
    if (child.name != "disk") continue;
    auto disk = parse_disk(child);
    if (!disk) return std::unexpected(disk.error());
    if (!seen.insert(disk->name).second)
      return unsupported("disk '" + disk->name + "' specified twice");
    snapshot.disks->push_back(std::move(*disk));
  }
  return {};
}

// The texts of a snapshot that exists.
DomainResult<void> parse_past(const Element& root, SnapshotXml& snapshot) {
  if (const Element* state = root.child("state")) snapshot.state = state->text();
  if (!snapshot.state.empty() && !names::has(names::kSnapshotStates, snapshot.state))
    return unsupported("Invalid state '" + snapshot.state + "' in domain snapshot XML");
  if (const Element* time = root.child("creationTime")) {
    const std::string text = time->text();
    std::int64_t seconds = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, seconds);
    if (error != std::errc{} || stop != end)
      return errors::make("DOMAIN_SNAPSHOT", "INTERNAL_ERROR", std::string(kNoCreationTime));
    snapshot.creation_time = seconds;
  }
  if (const Element* parent = root.child("parent"))
    if (const Element* name = parent->child("name")) snapshot.parent = name->text();
  return {};
}

Element format_snapshot_disk(const SnapshotDisk& disk) {
  Element element = Element::named("disk");
  element.set("name", disk.name).set_if("snapshot", disk.snapshot);
  if (disk.source) element.set("type", name_of(disk.source->type));
  arrange_attributes(element, {}, disk.other_attributes);
  std::vector<Element> made;
  if (disk.source) {
    Element driver = Element::named("driver");
    driver.set_if("type", disk.source->format);
    arrange_attributes(driver, {}, disk.driver_attributes);
    arrange(driver, {}, {}, disk.source->format_others);
    if (!driver.attributes.empty() || !driver.children.empty()) made.push_back(std::move(driver));
    if (auto source = format_source(*disk.source)) made.push_back(std::move(*source));
  }
  arrange(element, kDiskOrder, std::move(made), disk.others);
  return element;
}

Element text_element(std::string_view name, std::string_view text) {
  return Element::named(name).add_text(text);
}

std::optional<Element> take(Element& root, std::string_view name) {
  Element* child = root.child(name);
  if (child == nullptr) return std::nullopt;
  std::optional<Element> taken = std::move(*child);
  *child = Element::named(name);
  return taken;
}

}  // namespace

DomainResult<SnapshotXml> parse_domain_snapshot(const std::string& text, SnapshotUse use) {
  static constexpr std::array kRead{"name"sv,           "description"sv, "state"sv, "parent"sv,
                                    "creationTime"sv,   "memory"sv,      "disks"sv, "domain"sv,
                                    "inactiveDomain"sv, "cookie"sv};
  auto root = read_document(text, kKind);
  if (!root) return std::unexpected(std::move(root).error());
  SnapshotXml snapshot;
  if (const Element* name = root->child("name")) snapshot.name = name->text();
  if (const Element* description = root->child("description"))
    snapshot.description = description->text();
  if (use == SnapshotUse::redefined && snapshot.name.empty())
    return snapshot_xml("a redefined snapshot must have a name");
  if (auto read = parse_past(*root, snapshot); !read) return std::unexpected(read.error());
  if (use == SnapshotUse::redefined && !snapshot.creation_time)
    return errors::make("DOMAIN_SNAPSHOT", "INTERNAL_ERROR", std::string(kNoCreationTime));
  if (const Element* memory = root->child("memory"))
    if (auto read = parse_memory(*memory, use, snapshot); !read)
      return std::unexpected(read.error());
  if (Element* disks = root->child("disks"))
    if (auto read = parse_disks(*disks, snapshot); !read) return std::unexpected(read.error());
  snapshot.domain = take(*root, "domain");
  snapshot.inactive_domain = take(*root, "inactiveDomain");
  snapshot.cookie = take(*root, "cookie");
  snapshot.other_attributes = root->attributes;
  snapshot.others = keep_others(*root, kOrder, kRead);
  return snapshot;
}

std::string format_domain_snapshot(const SnapshotXml& snapshot) {
  Element root = Element::named("domainsnapshot");
  root.attributes = snapshot.other_attributes;
  std::vector<Element> made;
  if (!snapshot.name.empty()) made.push_back(text_element("name", snapshot.name));
  if (snapshot.description) made.push_back(text_element("description", *snapshot.description));
  if (!snapshot.state.empty()) made.push_back(text_element("state", snapshot.state));
  if (!snapshot.parent.empty()) {
    made.push_back(Element::named("parent"));
    made.back().add(text_element("name", snapshot.parent));
  }
  if (snapshot.creation_time)
    made.push_back(text_element("creationTime", std::to_string(*snapshot.creation_time)));
  if (snapshot.memory) {
    Element memory = Element::named("memory");
    memory.set_if("snapshot", snapshot.memory->snapshot).set_if("file", snapshot.memory->file);
    arrange_attributes(memory, {}, snapshot.memory->other_attributes);
    made.push_back(std::move(memory));
  }
  if (snapshot.disks) {
    made.push_back(Element::named("disks"));
    for (const SnapshotDisk& disk : *snapshot.disks) made.back().add(format_snapshot_disk(disk));
  }
  for (const auto* kept : {&snapshot.domain, &snapshot.inactive_domain, &snapshot.cookie})
    if (*kept) made.push_back(**kept);
  arrange(root, kOrder, std::move(made), snapshot.others);
  return format_element(root);
}

}  // namespace conformance::xml
