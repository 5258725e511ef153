#include "conformance/scenario/meaning.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "conformance/scenario/read.h"
#include "sim/base/bytes.h"
#include "sim/base/size.h"
#include "sim/base/text.h"

namespace conformance {
namespace {

using sim::operator""_MiB;

constexpr std::uint64_t kSector = 512;
constexpr std::string_view kDirectory = "${dir}";

bool is_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos && name.size() <= 200;
}

// True if any of the path's components is "..".
bool goes_up(std::string_view path) {
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return true;
    begin = end + 1;
  }
  return false;
}

// A path beneath ${dir}, or a relative one, which libvirt refuses.
bool stays_in_directory(std::string_view path) {
  if (path.find('\0') != path.npos || goes_up(path)) return false;
  if (!path.starts_with(kDirectory)) return !path.starts_with('/') && path.find("${") == path.npos;
  const std::string_view rest = path.substr(kDirectory.size());
  return rest.size() > 1 && rest.front() == '/' && rest.find("${") == rest.npos;
}

// The same for a text of a raw QMP command, which may hold paths anywhere: as a whole, after
// "file:", inside a JSON text or an HMP command.  QOM paths are no files, nor is "null-co://".
bool text_stays_in_directory(std::string_view whole) {
  const std::string without_null = sim::replace_all(
      sim::replace_all(std::string(whole), "null-co://", "null-co:"), "null-aio://", "null-aio:");
  const std::string_view text = without_null;
  constexpr std::string_view kBefore = " \t\n\"'=,:;|";
  if (text.find('\0') != text.npos) return false;
  for (std::size_t at = text.find('/'); at != text.npos; at = text.find('/', at + 1)) {
    const bool begins = at == 0 || kBefore.find(text[at - 1]) != kBefore.npos;
    const std::string_view rest = text.substr(at);
    if (begins && !rest.starts_with("/machine/") && !rest.starts_with("/objects/")) return false;
  }
  for (std::size_t at = text.find(kDirectory); at != text.npos; at = text.find(kDirectory, at + 1))
    if (!text.substr(at + kDirectory.size()).starts_with('/')) return false;
  for (std::size_t at = text.find(".."); at != text.npos; at = text.find("..", at + 1)) {
    const bool begins =
        at == 0 || text[at - 1] == '/' || kBefore.find(text[at - 1]) != kBefore.npos;
    const bool ends =
        at + 2 == text.size() || text[at + 2] == '/' || kBefore.find(text[at + 2]) != kBefore.npos;
    if (begins && ends) return false;
  }
  return true;
}

// The same for an XML document, in which "/>" ends an element; nothing may be spelled by number,
// nor be on another host.
bool document_stays_in_directory(const std::string& xml) {
  return !xml.contains("&#") && !xml.contains("<host") &&
         text_stays_in_directory(sim::replace_all(xml, "/>", ">"));
}

// A name that a command opens: a bare one would be in the emulator's own directory.
bool names_file_in_directory(std::string_view name) {
  if (name.starts_with("${dir}/")) return true;
  if (name.starts_with("file:")) return names_file_in_directory(name.substr(5));
  if (name.starts_with("blkdebug:")) {  // CONFIG:IMAGE
    const std::string_view rest = name.substr(9);
    const std::size_t colon = rest.find(':');
    if (colon == rest.npos) return true;  // QEMU refuses it
    return (colon == 0 || names_file_in_directory(rest.substr(0, colon))) &&
           names_file_in_directory(rest.substr(colon + 1));
  }
  if (!name.starts_with("json:")) return sim::has_protocol(name);
  for (std::size_t at = name.find("filename'"); at != name.npos; at = name.find("filename'", at)) {
    at += std::string_view("filename'").size();
    const std::size_t begin = name.find('\'', at);
    const std::size_t end = begin == name.npos ? begin : name.find('\'', begin + 1);
    const bool is_text = end != name.npos && name.substr(at, begin - at) == ":";
    if (is_text && !names_file_in_directory(name.substr(begin + 1, end - begin - 1))) return false;
  }
  return name.find("filename\"") == name.npos;  // quotes as above only
}

class Meaning {
 public:
  Meaning(const Scenario& scenario, const Draft& draft, FirstError& error)
      : scenario_(scenario), draft_(draft), error_(error) {}

  void check() {
    for (const Image& image : scenario_.images) check_image(image);
    check_files();
    check_disks();
    check_leases();
    for (const Step& step : scenario_.steps)
      std::visit([&](const auto& action) { check_step(action, step.place); }, step.action);
  }

 private:
  void report(std::string place, std::string expected, const std::string& cure = {}) {
    const std::string in = "in " + scenario_.id;
    error_.report(std::move(place), std::move(expected),
                  cure.empty() ? in : cure + " (" + in + ")");
  }
  const Image* image(const std::string& name) const {
    const auto found = std::ranges::find(scenario_.images, name, &Image::name);
    return found == scenario_.images.end() ? nullptr : &*found;
  }
  const Disk* disk(const std::string& target) const {
    const auto found = std::ranges::find(scenario_.disks, target, &Disk::target);
    return found == scenario_.disks.end() ? nullptr : &*found;
  }

  void check_image(const Image& image);
  void check_files();
  void check_disks();
  void check_leases();
  bool is_in_the_way(const OtherLease& lease) const;
  void check_disk_name(const std::string& target, const std::string& place);
  void check_snapshot(const SnapshotDocument& snapshot, const std::string& place);
  void check_destination(const CopyDestination& destination, const std::string& place);
  void check_texts(const Json& value, const std::string& place);
  void check_step(const CallStep& step, const std::string& place);
  void check_step(const QmpStep& step, const std::string& place);
  void check_step(const GuestStep& step, const std::string& place);
  void check_step(const WaitStep& step, const std::string& place);
  void check_step(const CheckStep& step, const std::string& place);
  void check_step(const FaultStep& step, const std::string& place);
  void check_step(const PowerCutStep& step, const std::string& place);
  void check_step(const RestStep& step, const std::string& place);

  const Scenario& scenario_;
  const Draft& draft_;
  FirstError& error_;
};

void Meaning::check_image(const Image& image) {
  const std::string& place = draft_.images.at(image.name).place;
  const bool is_raw = image.format == Image::Format::raw;
  if (!is_file_name(image.file))
    report(image.file == image.name ? place : member(place, "file"),
           "the name of a file in ${dir}, without \"/\" or \"..\"",
           fmt::format("found \"{}\"", image.file));
  if (image.size > kImageSizeMax)
    report(member(place, "size"), "a size of at most 64M",
           "what needs more bytes is no scenario for thousands of runs");
  if (!is_raw && !sim::is_aligned(image.size, kSector))
    report(member(place, "size"), "a multiple of 512 for a qcow2 image");
  if (!sim::is_power_of_two(image.cluster_size) || image.cluster_size < kSector ||
      image.cluster_size > 2_MiB)
    report(member(place, "cluster_size"), "a power of two from 512 to 2M");
  if (is_raw && !image.backing.empty())
    report(member(place, "backing"), "no backing image for a raw one", "make it qcow2");
  if (!image.backing_name.empty() && (image.backing.empty() || !is_file_name(image.backing_name) ||
                                      image.backing_name != this->image(image.backing)->file))
    report(member(place, "backing_name"), "the name of the backing image's file, without a path",
           fmt::format("found \"{}\"", image.backing_name));
  if (const Image* backing = this->image(image.backing);
      backing != nullptr && !sim::is_aligned(backing->size, kSector))
    report(member(draft_.images.at(backing->name).place, "size"),
           "a multiple of 512 for an image that backs another");
  for (std::size_t i = 0; i < image.writes.size(); ++i) {
    const auto end = sim::checked_add(image.writes[i].offset, image.writes[i].length);
    if (!end || *end > image.size || image.writes[i].length == 0)
      report(element(member(place, "writes"), i),
             fmt::format("a write of at least one byte within the image's {}",
                         sim::format_size(image.size)));
  }
}

void Meaning::check_files() {
  std::set<std::string> files;
  for (const Image& image : scenario_.images)
    if (!files.insert(image.file).second)
      report(member(draft_.images.at(image.name).place, "file"), "a file of its own for each image",
             fmt::format("\"{}\" is another's", image.file));
}

void Meaning::check_disks() {
  std::set<std::string> targets;
  for (std::size_t i = 0; i < scenario_.disks.size(); ++i) {
    const Disk& disk = scenario_.disks[i];
    const std::string& place = draft_.disks[i].place;
    if (!targets.insert(disk.target).second)
      report(member(place, "target"), "a target of its own for each disk");
    const Image* source = image(disk.source);
    if (source == nullptr)
      report(member(place, "source"), fmt::format("the name of an image, not \"{}\"", disk.source));
    else if (!sim::is_aligned(source->size, kSector))
      report(member(draft_.images.at(source->name).place, "size"),
             "a multiple of 512 for an image that a disk uses");
  }
}

// The lease would keep the domain from its start.
bool Meaning::is_in_the_way(const OtherLease& lease) const {
  for (const Disk& disk : scenario_.disks) {
    const Image* top = image(disk.source);
    for (const Image* used = top; used != nullptr; used = image(used->backing))
      if (used->file == lease.file && (used == top || lease.mode == LeaseMode::exclusive))
        return true;
  }
  return false;
}

void Meaning::check_leases() {
  if (!scenario_.leases) return;
  if (scenario_.disks.empty())
    report("/leases", "no leases without a disk", "only a domain asks the lock manager");
  for (std::size_t i = 0; i < scenario_.leases->size(); ++i) {
    const OtherLease& lease = (*scenario_.leases)[i];
    const std::string& place = (*draft_.leases)[i].place;
    if (!is_file_name(lease.file))
      report(member(place, "file"), "the name of a file in ${dir}",
             fmt::format("found \"{}\"", lease.file));
    if (lease.holder.empty() || lease.holder.starts_with("domain/"))
      report(member(place, "holder"), "a name that no disk of the domain has (\"domain/vda\")");
    for (std::size_t j = 0; j < i; ++j)
      if (const OtherLease& before = (*scenario_.leases)[j];
          before.file == lease.file &&
          (before.holder == lease.holder || before.mode == LeaseMode::exclusive ||
           lease.mode == LeaseMode::exclusive))
        report(place, "a lease that goes with the others of this file",
               "each holder has one, and an exclusive one is alone");
    if (is_in_the_way(lease))
      report(place, "a lease that lets the domain start",
             "others cannot hold its active images at all, nor its backing images exclusively");
  }
}

void Meaning::check_disk_name(const std::string& target, const std::string& place) {
  if (disk(target) == nullptr)
    report(place, fmt::format("the target of a disk, not \"{}\"", target));
}

void Meaning::check_step(const CallStep& step, const std::string& place) {
  const bool as_proposed = scenario_.dialect == Dialect::as_proposed;
  if (is_proposed(step.api) && !as_proposed)
    report(member(place, "call"), "a call that libvirt has",
           R"("dialect": "as-proposed" has this one)");
  const bool by_document = std::ranges::find(step.flags, "base-xml") != step.flags.end();
  const bool has_disk = !is_snapshot_call(step.api);
  // Calls that must fail may name what is not there.
  if (has_disk && (!step.expect || !step.expect->error))
    check_disk_name(step.disk, member(place, "disk"));
  for (const auto& [key, name] : {std::pair{"base", &step.base}, std::pair{"top", &step.top}})
    if (*name && !(by_document ? document_stays_in_directory(**name) : stays_in_directory(**name)))
      report(member(place, key), "a path beneath ${dir}", "found \"" + **name + "\"");
  if (step.api == CallStep::Api::block_copy)
    check_destination(step.destination, member(place, "destination"));
  check_snapshot(step.snapshot, place);
  std::set<std::string> flags;
  for (const std::string& flag : step.flags)
    if (!flags.insert(flag).second)
      report(member(place, "flags"), fmt::format("the flag \"{}\" once", flag));
}

void Meaning::check_snapshot(const SnapshotDocument& snapshot, const std::string& place) {
  if (!document_stays_in_directory(snapshot.xml))
    report(member(place, "xml"), "files beneath ${dir} only", "found " + snapshot.xml);
  if (!snapshot.disks) return;
  for (std::size_t i = 0; i < snapshot.disks->size(); ++i)
    for (const std::string* name : {&(*snapshot.disks)[i].disk, &(*snapshot.disks)[i].file})
      if (!stays_in_directory(*name))
        report(element(member(place, "disks"), i), "a path beneath ${dir}",
               "found \"" + *name + "\"");
}

void Meaning::check_destination(const CopyDestination& destination, const std::string& place) {
  const auto check_path = [&](const std::string& path, const std::string& where) {
    if (!stays_in_directory(path)) report(where, "a path beneath ${dir}", "found \"" + path + "\"");
  };
  if (!destination.xml.empty()) {
    if (!document_stays_in_directory(destination.xml))
      report(member(place, "xml"), "files beneath ${dir} only", "found " + destination.xml);
    return;
  }
  check_path(destination.path, place);
  for (std::size_t i = 0; i < destination.backing.size(); ++i)
    check_path(destination.backing[i].file, element(member(place, "backing"), i));
}

void Meaning::check_texts(const Json& value, const std::string& place) {
  if (const std::string* text = value.get_ptr<const std::string*>()) {
    if (!text_stays_in_directory(*text))
      report(place, "files beneath ${dir} only", "found \"" + *text + "\"");
    return;
  }
  if (value.is_array())
    for (std::size_t i = 0; i < value.size(); ++i) check_texts(value[i], element(place, i));
  if (!value.is_object()) return;
  for (const auto& [key, inner] : value.items()) {
    const std::string here = member(place, key);
    check_texts(inner, here);
    const bool names_file = key == "filename" || key == "snapshot-file";
    if (names_file && inner.is_string() && !names_file_in_directory(inner.get<std::string>()))
      report(here, "a path that begins with ${dir}/", "found " + inner.dump());
  }
}

void Meaning::check_step(const QmpStep& step, const std::string& place) {
  check_texts(step.arguments, member(place, "arguments"));
}

void Meaning::check_step(const GuestStep& step, const std::string& place) {
  check_disk_name(step.disk, member(place, "disk"));
  if (step.operation == GuestStep::Operation::flush) return;
  const Disk* used = disk(step.disk);
  const Image* source = used == nullptr ? nullptr : image(used->source);
  const auto end = sim::checked_add(step.offset, step.length);
  if (source != nullptr && (!end || *end > source->size || step.length == 0))
    report(place, fmt::format("a range of at least one byte within the disk's {}",
                              sim::format_size(source->size)));
}

void Meaning::check_step(const WaitStep& step, const std::string& place) {
  if (step.event.empty()) check_disk_name(step.disk, member(place, "disk"));
}

void Meaning::check_step(const CheckStep& step, const std::string& place) {
  check_disk_name(step.disk, member(place, "check"));
  for (std::size_t i = 0; step.chain && i < step.chain->size(); ++i)
    if (!is_file_name((*step.chain)[i]))
      report(element(member(place, "chain"), i), "the name of a file in ${dir}");
  if (!step.guest) return;
  // "1*64k 0*960k": pattern, length.
  std::string_view rest = *step.guest;
  bool good = !rest.empty();
  while (good && !rest.empty()) {
    const std::string_view run = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), run.size() + 1));
    const std::size_t star = run.find('*');
    const auto pattern = sim::parse_size(run.substr(0, star));
    good = star != run.npos && pattern && *pattern <= 255 && sim::parse_size(run.substr(star + 1));
  }
  if (!good)
    report(member(place, "guest"), "runs of one byte each, such as \"1*64k 9*64k 0*896k\"",
           "found \"" + *step.guest + "\"");
}

void Meaning::check_step(const FaultStep& step, const std::string& place) {
  if (disk(step.on) == nullptr && !is_file_name(step.on))
    report(member(place, "fault"), "on: the target of a disk, or the name of a file in ${dir}",
           fmt::format("found \"{}\"", step.on));
}

void Meaning::check_step(const RestStep&, const std::string& place) {
  if (!scenario_.disks.empty())
    report(place, "no wait-jobs: it is for scenarios without disks",
           "wait for an event of the disk's job");
}

void Meaning::check_step(const PowerCutStep&, const std::string& place) {
  if (place != scenario_.steps.back().place)
    report(place, "the power cut as the last step", "nothing is left that could do another");
}

}  // namespace

void check_meaning(const Scenario& scenario, const Draft& draft, FirstError& error) {
  Meaning(scenario, draft, error).check();
}

}  // namespace conformance
