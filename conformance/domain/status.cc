// The domain's status as a document: what a client needs to go on where another was cut off.

#include <array>
#include <charconv>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/xml/element.h"
#include "conformance/domain/xml/read_document.h"

namespace conformance {

namespace {

using xml::Element;

constexpr xml::DocumentKind kKind{"domstatus", "(domain_status)", "DOMAIN"};
constexpr std::array<std::string_view, 4> kKinds = {"copy", "pull", "commit", "active-commit"};
constexpr std::array<std::string_view, 8> kStates = {"starting", "running",  "ready",     "pending",
                                                     "aborting", "pivoting", "succeeded", "failed"};
constexpr std::array<std::string_view, 4> kModes = {"no", "internal", "external", "manual"};
constexpr std::array<std::string_view, 3> kBackings = {"unknown", "terminated", "known"};

void set_flag(Element& element, std::string_view name, bool value) {
  if (value) element.set(name, "yes");
}

// Images of a chain, top first: how they nest is their order.
void add_chain(Element& parent, const Source& top) {
  for (const Source* source = &top; source != nullptr; source = source->beneath.get()) {
    Element image = Element::named("image");
    image.set("path", source->path).set("format", source->format);
    image.set("index", std::to_string(source->index));
    image.set_if("relative", source->relative);
    image.set_if("generated-node", source->generated_node);
    set_flag(image, "storage", source->storage_open);
    set_flag(image, "node", source->format_open);
    set_flag(image, "secret", source->secret_there);  // that it is there, not what it is
    image.set("backing", kBackings[std::to_underlying(source->backing)]);
    parent.add(std::move(image));
  }
}

Element snapshot_element(std::string_view name, const Snapshot& snapshot) {
  Element element = Element::named(name);
  element.set("name", snapshot.name).set_if("parent", snapshot.parent);
  element.set("state", snapshot.state).set("memory", name_of(snapshot.memory));
  element.set("time", std::to_string(snapshot.creation_time));
  if (snapshot.description)
    element.add(Element::named("description")).add_text(*snapshot.description);
  for (const auto& [target, source] : snapshot.sources)
    element.add(Element::named("source"))
        .set("target", target)
        .set("path", source.path)
        .set("format", source.format);
  for (const SnapshotDiskRecord& disk : snapshot.disks) {
    Element record = Element::named("disk");
    record.set("target", disk.target).set("mode", name_of(disk.mode));
    record.set_if("path", disk.path).set_if("format", disk.format);
    set_flag(record, "merging", disk.merging);
    element.add(std::move(record));
  }
  return element;
}

// --- reading -------------------------------------------------------------------------------------

std::string text_of(const Element& element, std::string_view name) {
  const std::string* value = element.attribute(name);
  return value == nullptr ? std::string() : *value;
}

bool is_set(const Element& element, std::string_view name) {
  return text_of(element, name) == "yes";
}

std::optional<unsigned> number_of(const Element& element, std::string_view name) {
  const std::string text = text_of(element, name);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <class Enum, std::size_t n>
std::optional<Enum> word_of(const Element& element, std::string_view name,
                            const std::array<std::string_view, n>& words) {
  const std::string text = text_of(element, name);
  for (std::size_t i = 0; i < n; ++i)
    if (words[i] == text) return static_cast<Enum>(i);
  return std::nullopt;
}

errors::Failure malformed(const std::string& what) {
  return errors::make("XML", "XML_ERROR", "malformed domain status: " + what);
}

DomainResult<std::unique_ptr<Source>> read_chain_of(const Element& parent) {
  std::unique_ptr<Source> top;
  Source* above = nullptr;
  for (const Element& image : parent.children) {
    if (image.name != "image") continue;
    auto source = std::make_unique<Source>();
    const auto index = number_of(image, "index");
    const auto backing = word_of<Backing>(image, "backing", kBackings);
    source->path = text_of(image, "path");
    source->format = text_of(image, "format");
    if (!index || !backing || source->path.empty() || source->format.empty())
      return malformed("an image without path, format, index or backing");
    source->index = *index;
    source->backing = *backing;
    source->relative = text_of(image, "relative");
    source->generated_node = text_of(image, "generated-node");
    source->storage_open = is_set(image, "storage");
    source->format_open = is_set(image, "node");
    source->secret_there = is_set(image, "secret");
    Source* const here = source.get();
    (above == nullptr ? top : above->beneath) = std::move(source);
    above = here;
  }
  if (top == nullptr) return malformed("no image");
  for (const Source* source = top.get(); source != nullptr; source = source->beneath.get())
    if ((source->backing == Backing::known) != (source->beneath != nullptr))
      return malformed("a chain that does not end where it says");
  return top;
}

DomainResult<Snapshot> read_snapshot(const Element& element) {
  Snapshot snapshot{.name = text_of(element, "name"), .parent = text_of(element, "parent")};
  snapshot.state = text_of(element, "state");
  const auto memory = word_of<SnapshotMode>(element, "memory", kModes);
  const std::string time = text_of(element, "time");
  const auto [end, error] =
      std::from_chars(time.data(), time.data() + time.size(), snapshot.creation_time);
  if (!memory || snapshot.name.empty() || error != std::errc() || end != time.data() + time.size())
    return malformed("a snapshot without name, memory or time");
  snapshot.memory = *memory;
  for (const Element& child : element.children) {
    if (child.name == "description") snapshot.description = child.text();
    if (child.name == "source")
      snapshot.sources[text_of(child, "target")] = {text_of(child, "path"),
                                                    text_of(child, "format")};
    if (child.name != "disk") continue;
    const auto mode = word_of<SnapshotMode>(child, "mode", kModes);
    if (!mode) return malformed("a snapshot's disk without mode");
    snapshot.disks.push_back({text_of(child, "target"), *mode, text_of(child, "path"),
                              text_of(child, "format"), is_set(child, "merging")});
  }
  for (const SnapshotDiskRecord& disk : snapshot.disks)
    if (!snapshot.sources.contains(disk.target))
      return malformed("a snapshot's disk without source");
  return snapshot;
}

// `making`: the one that was being made.
DomainResult<void> read_snapshots(const Element& status, SnapshotTree& tree,
                                  std::optional<Snapshot>& making) {
  for (const Element& element : status.children) {
    if (element.name != "snapshot" && element.name != "new-snapshot") continue;
    auto snapshot = read_snapshot(element);
    if (!snapshot) return std::unexpected(std::move(snapshot).error());
    if (tree.find(snapshot->name) != nullptr ||
        (!snapshot->parent.empty() && tree.find(snapshot->parent) == nullptr))
      return malformed("snapshot " + snapshot->name + " twice or without its parent");
    if (element.name == "new-snapshot") {
      making = *std::move(snapshot);
      continue;
    }
    if (is_set(element, "current")) tree.set_current(snapshot->name);
    tree.append(*std::move(snapshot));
  }
  return {};
}

Source* of_index(Source& top, unsigned index) {
  for (Source* source = &top; source != nullptr; source = source->beneath.get())
    if (source->index == index) return source;
  return nullptr;
}

}  // namespace

void Domain::save() {
  if (!keep_status_) return;
  Element status = Element::named("domstatus");
  status.set("next-index", std::to_string(next_index_));
  set_flag(status, "persistent", persistent_);
  set_flag(status, "as-proposed", dialect_ == Dialect::as_proposed);
  if (recipe_ == CopyRecipe::drive) status.set("recipe", "drive");
  set_flag(status, "running", running_);
  status.set("name", name_);
  for (const Disk& disk : disks_) {
    Element element = Element::named("disk");
    element.set("target", disk.target).set("alias", disk.alias);
    set_flag(element, "pull-filter", disk.pull_filter);
    add_chain(element, *disk.source);
    if (disk.job) {
      const Job& job = *disk.job;
      Element work = Element::named("blockjob");
      work.set("id", job.id).set("type", kKinds[std::to_underlying(job.kind)]);
      work.set("state", kStates[std::to_underlying(job.state)]);
      set_flag(work, "shallow", job.shallow);
      set_flag(work, "reuse", job.reuse);
      set_flag(work, "removes", job.removes);
      set_flag(work, "waits", job.waits);
      set_flag(work, "aborted", job.aborted);
      set_flag(work, "ended-failed", disk.last_end.failed);
      work.set_if("error", disk.last_end.error);
      if (job.top != nullptr) work.set("top", std::to_string(job.top->index));
      if (job.base != nullptr) work.set("base", std::to_string(job.base->index));
      if (job.mirror) add_chain(work, *job.mirror);
      element.add(std::move(work));
    }
    if (disk.overlay) {
      Element overlay = Element::named("overlay");
      set_flag(overlay, "new", disk.overlay_is_new);
      add_chain(overlay, *disk.overlay);
      element.add(std::move(overlay));
    }
    status.add(std::move(element));
  }
  for (const Snapshot* snapshot : snapshots_.all()) {
    Element& element = status.add(snapshot_element("snapshot", *snapshot));
    set_flag(element, "current", snapshot == snapshots_.current());
  }
  if (making_) status.add(snapshot_element("new-snapshot", *making_));
  keep_status_(xml::format_element(status));
}

DomainResult<void> Domain::read_status(const std::string& text) {
  auto status = xml::read_document(text, kKind);
  if (!status) return std::unexpected(std::move(status).error());
  const auto next = number_of(*status, "next-index");
  if (!next) return malformed("no next-index");
  next_index_ = *next;
  persistent_ = is_set(*status, "persistent");
  if (is_set(*status, "as-proposed")) dialect_ = Dialect::as_proposed;
  if (text_of(*status, "recipe") == "drive") recipe_ = CopyRecipe::drive;
  running_ = is_set(*status, "running");
  name_ = text_of(*status, "name");
  if (auto read = read_snapshots(*status, snapshots_, making_); !read) return read;
  for (const Element& element : status->children) {
    if (element.name != "disk") continue;
    Disk& disk = disks_.emplace_back();
    disk.target = text_of(element, "target");
    disk.alias = text_of(element, "alias");
    disk.pull_filter = is_set(element, "pull-filter");
    auto chain = read_chain_of(element);
    if (!chain) return std::unexpected(std::move(chain).error());
    disk.source = *std::move(chain);
    if (const Element* overlay = element.child("overlay")) {
      auto image = read_chain_of(*overlay);
      if (!image) return std::unexpected(std::move(image).error());
      disk.overlay = *std::move(image);
      disk.overlay_is_new = is_set(*overlay, "new");
    }
    const Element* work = element.child("blockjob");
    if (work == nullptr) continue;
    Job job;
    const auto kind = word_of<JobKind>(*work, "type", kKinds);
    const auto state = word_of<JobState>(*work, "state", kStates);
    if (!kind || !state) return malformed("a job of unknown type or state");
    job.kind = *kind;
    job.state = *state;
    job.id = text_of(*work, "id");
    job.shallow = is_set(*work, "shallow");
    job.reuse = is_set(*work, "reuse");
    job.removes = is_set(*work, "removes");
    job.waits = is_set(*work, "waits");
    job.aborted = is_set(*work, "aborted");
    disk.last_end = {.failed = is_set(*work, "ended-failed"), .error = text_of(*work, "error")};
    if (const auto top = number_of(*work, "top")) job.top = of_index(*disk.source, *top);
    if (const auto base = number_of(*work, "base")) job.base = of_index(*disk.source, *base);
    if (job.kind == JobKind::copy) {
      auto mirror = read_chain_of(*work);
      if (!mirror) return std::unexpected(std::move(mirror).error());
      job.mirror = *std::move(mirror);
    } else if (job.kind != JobKind::pull && (job.top == nullptr || job.base == nullptr)) {
      return malformed("a commit without top or base");
    }
    if (job.base != nullptr &&
        (job.top == nullptr || of_index(*job.top, job.base->index) == nullptr))
      return malformed("a base that is not beneath the top");
    disk.job = std::move(job);
  }
  return {};
}

}  // namespace conformance
