#include "conformance/check/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace conformance::check {

Digests digests_of(const Files& files) {
  Digests digests;
  for (const std::string& name : files.names())
    if (const auto digest = inspect::digest(files, files.directory() + "/" + name))
      digests.emplace(name, *digest);
  return digests;
}

Before remember(const Files& files) {
  Before before{.files = files.remember(), .digests = {}};
  if (!before.files) before.digests = digests_of(files);
  return before;
}

namespace {

model::Kind to_model(inspect::Kind kind) {
  switch (kind) {
    case inspect::Kind::absent:
      return model::Kind::absent;
    case inspect::Kind::zero:
      return model::Kind::zero;
    case inspect::Kind::data:
      return model::Kind::data;
  }
  return model::Kind::data;
}

std::string seen(inspect::Kind kind, std::uint8_t byte) {
  return kind == inspect::Kind::data ? fmt::format("data {:#04x}", byte)
                                     : std::string(inspect::name_of(kind));
}

// "0x01 or 0x09".
std::string in_words(const model::Values& values) {
  std::string text;
  for (unsigned byte = 0; byte < values.size(); ++byte)
    if (values.test(byte)) text += fmt::format("{}{:#04x}", text.empty() ? "" : " or ", byte);
  return text;
}

class FileComparison {
 public:
  FileComparison(const Files& files, inspect::Inspector& inspector,
                 const model::FileExpectation& expected)
      : files_(files),
        inspector_(inspector),
        expected_(expected),
        path_(files.directory() + "/" + expected.name) {}

  std::vector<Divergence> run(const Before& before) {
    if (!files_.size(path_)) {
      add(DivergenceClass::data, "the file is there", "present", "missing");
      return std::move(found_);
    }
    if (expected_.unchanged) compare_with(before);
    const auto layer = inspector_.layer(path_, model::name_of(expected_.layer.format()));
    if (!layer) {
      add(DivergenceClass::data, "the file is an intact image",
          model::name_of(expected_.layer.format()), layer.error().desc);
      return std::move(found_);
    }
    compare_header((*layer)->report);
    compare_metadata((*layer)->report.check);
    if ((*layer)->report.virtual_size == expected_.layer.size())
      compare_content(expected_.layer, (*layer)->content, "");
    compare_snapshots((*layer)->snapshots);
    compare_chain();
    return std::move(found_);
  }

 private:
  void add(DivergenceClass divergence_class, std::string requirement, std::string expected,
           std::string actual, const std::string& where = {}) {
    found_.push_back({divergence_class, std::move(requirement), std::move(expected),
                      std::move(actual),
                      where.empty() ? expected_.name : expected_.name + ", " + where});
  }

  void compare_with(const Before& before) {
    constexpr const char* kRequirement = "not a byte of this file may change";
    if (before.files) {
      if (before.files->has_changed(path_))
        add(DivergenceClass::data, kRequirement, "what it was", "something else");
      return;
    }
    const auto then = before.digests.find(expected_.name);
    const auto now = inspect::digest(files_, path_);
    if (then != before.digests.end() && now && then->second != *now)
      add(DivergenceClass::data, kRequirement, fmt::format("digest {:016x}", then->second),
          fmt::format("digest {:016x}", *now));
  }

  void compare_header(const inspect::ImageReport& report) {
    if (report.virtual_size != expected_.layer.size())
      add(DivergenceClass::data, "the virtual size is the disk's",
          std::to_string(expected_.layer.size()), std::to_string(report.virtual_size));
    if (report.encrypted != expected_.encrypted)
      add(DivergenceClass::data, "the data is encrypted where the image was made so",
          expected_.encrypted ? "encrypted" : "plain", report.encrypted ? "encrypted" : "plain");
    if (report.backing_file != expected_.backing_string)
      add(DivergenceClass::chain, "the header names this backing file",
          quoted(expected_.backing_string), quoted(report.backing_file));
    if (report.backing_format != expected_.backing_format)
      add(DivergenceClass::chain, "the header names this backing format",
          quoted(expected_.backing_format), quoted(report.backing_format));
  }

  static std::string quoted(const std::string& text) {
    return text.empty() ? std::string("none") : "'" + text + "'";
  }

  void compare_metadata(const inspect::CheckResult& check) {
    if (check.clean()) return;
    const std::string first = check.details.empty() ? std::string() : ": " + check.details.front();
    if (check.corruptions > 0)
      add(DivergenceClass::data, "every reference count matches the references", "0 corruptions",
          fmt::format("{} corruptions{}", check.corruptions, first));
    else if (!expected_.may_leak)
      add(DivergenceClass::allocation, "no cluster is leaked", "0 leaks",
          fmt::format("{} leaks{}", check.leaks, first));
  }

  // The first place where the file holds what it may not; one is enough.
  void compare_content(const model::Layer& expected, const inspect::Content& content,
                       const std::string& whose) {
    auto actual = content.runs.begin();
    for (const model::CellRun& run : expected.runs()) {
      const std::uint64_t end = run.offset + run.length;
      while (actual != content.runs.end() && actual->offset < end) {
        const std::uint64_t from = std::max(run.offset, actual->offset);
        const std::uint64_t to = std::min(end, actual->offset + actual->length);
        if (from < to && !compare_piece(run.cell, *actual, content, from, to, whose)) return;
        if (actual->offset + actual->length > end) break;
        ++actual;
      }
    }
  }

  bool compare_piece(const model::Cell& cell, const inspect::ContentRun& actual,
                     const inspect::Content& content, std::uint64_t from, std::uint64_t to,
                     const std::string& whose) {
    std::uint64_t at = from;
    std::uint8_t byte = actual.pattern.value_or(0);
    for (; at < to; ++at) {
      if (actual.kind == inspect::Kind::data && !actual.pattern)
        byte = std::to_integer<std::uint8_t>(content.mixed[actual.mixed_at + (at - actual.offset)]);
      if (!cell.allows(to_model(actual.kind), byte)) break;
      if (actual.kind != inspect::Kind::data || actual.pattern) return true;
    }
    if (at == to) return true;
    // What reads the same is only allocated otherwise.  Where nothing is allocated, a backing file
    // shows: what that reads as is not looked at.
    const bool alone = expected_.backing_string.empty();
    const bool due_zero = cell.zero || cell.data.test(0) || (cell.absent && alone);
    const bool is_zero = actual.kind == inspect::Kind::zero ||
                         (actual.kind == inspect::Kind::data && byte == 0) ||
                         (actual.kind == inspect::Kind::absent && alone);
    const bool reads_right = due_zero && is_zero;
    add(reads_right ? DivergenceClass::allocation : DivergenceClass::data,
        "each place of the layer holds what the operation left there", cell.text(),
        seen(actual.kind, byte), fmt::format("{}byte {}", whose, at));
    return false;
  }

  void compare_snapshots(const std::vector<inspect::InternalSnapshot>& snapshots) {
    std::vector<std::string> wanted, seen;
    for (const auto& [name, layer] : expected_.snapshots) wanted.push_back(name);
    for (const inspect::InternalSnapshot& snapshot : snapshots) seen.push_back(snapshot.name);
    std::ranges::sort(seen);
    if (wanted != seen) {
      add(DivergenceClass::data, "the image has these internal snapshots",
          fmt::format("{}", fmt::join(wanted, ", ")), fmt::format("{}", fmt::join(seen, ", ")));
      return;
    }
    for (const inspect::InternalSnapshot& snapshot : snapshots)
      compare_content(expected_.snapshots.at(snapshot.name), snapshot.content,
                      "snapshot " + snapshot.name + ", ");
  }

  void compare_chain() {
    const auto chain = inspector_.chain(path_, model::name_of(expected_.layer.format()));
    std::vector<std::string> names;
    if (chain)
      for (const std::string& path : *chain) names.push_back(path.substr(path.rfind('/') + 1));
    if (expected_.dangles ? !chain : chain && names == expected_.cold_chain) return;
    add(DivergenceClass::chain, "opened by its header, the image has this chain",
        fmt::format("{}", fmt::join(expected_.cold_chain, " -> ")),
        chain ? fmt::format("{}", fmt::join(names, " -> ")) : chain.error().desc);
  }

  const Files& files_;
  inspect::Inspector& inspector_;
  const model::FileExpectation& expected_;
  std::string path_;
  std::vector<Divergence> found_;
};

}  // namespace

std::vector<Divergence> compare_files(const Files& files,
                                      const std::vector<model::FileExpectation>& expected,
                                      const Before& before, const Passphrases& passphrases) {
  std::vector<Divergence> found;
  inspect::Inspector inspector(files, passphrases);
  std::set<std::string> known;
  for (const model::FileExpectation& file : expected) {
    known.insert(file.name);
    if (file.in_use) continue;
    std::vector<Divergence> differences = FileComparison(files, inspector, file).run(before);
    std::ranges::move(differences, std::back_inserter(found));
  }
  for (const std::string& name : files.names())
    if (!known.contains(name))
      found.push_back(
          {DivergenceClass::data, "no other file is left behind", "no such file", "a file", name});
  return found;
}

std::vector<Divergence> compare_after_cut(const Files& files,
                                          const std::vector<model::FileExpectation>& expected,
                                          const std::vector<FoundDisk>& disks,
                                          const Passphrases& passphrases) {
  std::vector<Divergence> found;
  inspect::Inspector inspector(files, passphrases);
  for (const model::FileExpectation& file : expected) {
    const auto layer =
        inspector.layer(files.directory() + "/" + file.name, model::name_of(file.layer.format()));
    if (!layer) {
      found.push_back({DivergenceClass::data, "the image opens after a power cut", "an image",
                       layer.error().desc, file.name});
      continue;
    }
    const inspect::CheckResult& check = (*layer)->report.check;
    if (check.corruptions > 0)
      found.push_back({DivergenceClass::data, "a power cut leaves at worst leaks", "0 corruptions",
                       fmt::format("{} corruptions: {}", check.corruptions, check.details.front()),
                       file.name});
  }
  for (const FoundDisk& disk : disks) {
    const auto view = inspector.view(disk.path, disk.format);
    if (!view) {
      found.push_back({DivergenceClass::data, "the disk can be read after a power cut", "its data",
                       view.error().desc, disk.disk});
      continue;
    }
    std::vector<Divergence> differences = compare_views(*view, disk.may, "disk " + disk.disk);
    std::ranges::move(differences, std::back_inserter(found));
  }
  return found;
}

std::vector<Divergence> compare_views(const inspect::View& actual, const model::View& expected,
                                      const std::string& whose) {
  const std::uint64_t size = expected.empty() ? 0 : expected.back().offset + expected.back().length;
  const std::uint64_t actual_size =
      actual.runs.empty() ? 0 : actual.runs.back().offset + actual.runs.back().length;
  if (size != actual_size)
    return {{DivergenceClass::data, "the disk has its size", std::to_string(size),
             std::to_string(actual_size), whose}};
  auto run = actual.runs.begin();
  for (const model::ViewRun& wanted : expected) {
    for (std::uint64_t at = wanted.offset; at < wanted.offset + wanted.length;) {
      while (run->offset + run->length <= at) ++run;
      const inspect::ViewByte byte = byte_at(actual, at);
      if (!wanted.values.test(byte.value))
        return {{DivergenceClass::data, "the guest reads what it must", in_words(wanted.values),
                 fmt::format("{:#04x}", byte.value),
                 fmt::format("{}, byte {}, from layer {}", whose, at, actual.layers[byte.layer])}};
      at = run->pattern ? std::min(run->offset + run->length, wanted.offset + wanted.length)
                        : at + 1;
    }
  }
  return {};
}

}  // namespace conformance::check
