#include "conformance/cli/scenario_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace cli {

namespace fs = std::filesystem;
using conformance::Excluded;
using conformance::LoadedFile;
using conformance::Scenario;

std::string scenario_root() {
  if (const char* place = std::getenv("UNDERSTUDY_SCENARIOS")) return place;
  return UNDERSTUDY_SOURCE_DIR "/scenarios";
}

static Expected<std::string> read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in && in.peek() != std::ifstream::traits_type::eof()) text << in.rdbuf();
  if (!in.is_open() || in.bad() || !text)  // an empty file can be read
    return std::unexpected(Failure{
        kBadInput,
        fmt::format("{}: cannot be read; give the path of a scenario file", path.string())});
  return std::move(text).str();
}

static Expected<LoadedFile> load_file(const fs::path& path, const std::string& id) {
  const auto schema = read_text(fs::path(scenario_root()) / "scenario.schema.json");
  if (!schema) return std::unexpected(schema.error());
  const auto text = read_text(path);
  if (!text) return std::unexpected(text.error());
  auto loaded = conformance::load_scenarios(*text, id, path.string(), *schema);
  if (!loaded) return std::unexpected(Failure{kBadInput, to_string(loaded.error())});
  return *std::move(loaded);
}

// All scenario files beneath the root: id to path.
static std::map<std::string, fs::path> all_files() {
  std::map<std::string, fs::path> files;
  std::error_code error;
  const fs::path root = scenario_root();
  for (fs::recursive_directory_iterator at(root, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != ".json" || at->path().filename() == "scenario.schema.json")
      continue;
    files.emplace(fs::relative(at->path(), root).replace_extension().generic_string(), at->path());
  }
  return files;
}

static bool is_within(const std::string& id, const std::string& group) {
  return id == group || id.starts_with(group + "/");
}

// Takes what is within `group` (everything, if it is empty) of one file; false if nothing is.
static Expected<bool> load_part(const fs::path& path, const std::string& file_id,
                                const std::string& group, LoadedFile& into) {
  auto loaded = load_file(path, file_id);
  if (!loaded) return std::unexpected(loaded.error());
  bool found = false;
  for (Scenario& scenario : loaded->scenarios)
    if (group.empty() || is_within(scenario.id, group)) {
      into.scenarios.push_back(std::move(scenario));
      found = true;
    }
  for (Excluded& excluded : loaded->excluded)
    if (group.empty() || is_within(excluded.id, group))
      into.excluded.push_back(std::move(excluded));
  return found;
}

// The id of a file that is given by its path without suffix: beneath the root what it is there,
// else that path, so that what a report prints can be given again.
static std::string id_of(const std::string& path) {
  std::error_code error;
  const fs::path below =
      fs::weakly_canonical(path, error).lexically_relative(fs::weakly_canonical(scenario_root()));
  if (!error && !below.empty() && *below.begin() != "..") return below.generic_string();
  return fs::path(path).lexically_normal().generic_string();
}

static Expected<bool> load_outside(const std::string& argument, LoadedFile& into) {
  std::error_code error;
  if (argument.ends_with(".json"))
    return load_part(argument, id_of(argument.substr(0, argument.size() - 5)), "", into);
  if (fs::is_regular_file(argument, error)) return load_part(argument, id_of(argument), "", into);
  for (std::size_t end = argument.size(); end != std::string::npos && end > 0;
       end = argument.rfind('/', end - 1)) {
    const std::string file_id = argument.substr(0, end);
    if (fs::is_regular_file(file_id + ".json", error))
      return load_part(file_id + ".json", file_id, argument, into);
  }
  return false;
}

static Expected<void> load_one(const std::string& argument, LoadedFile& into) {
  std::string group = argument;
  while (group.ends_with('/')) group.pop_back();
  bool found = false;
  if (!argument.ends_with(".json")) {
    for (const auto& [file_id, path] : all_files()) {
      if (!group.empty() && !is_within(file_id, group) && !is_within(group, file_id)) continue;
      const auto part = load_part(path, file_id, group, into);
      if (!part) return std::unexpected(part.error());
      found = found || *part;
    }
  }
  if (found || argument.empty()) return {};
  const auto outside = load_outside(argument, into);
  if (!outside) return std::unexpected(outside.error());
  if (*outside) return {};
  return std::unexpected(
      Failure{kBadInput,
              fmt::format("no scenario is called '{}', and no group; `understudy list` shows all",
                          argument)});
}

Expected<LoadedFile> load_named(const std::vector<std::string>& arguments) {
  LoadedFile all;
  if (arguments.empty()) {
    if (auto loaded = load_one("", all); !loaded) return std::unexpected(loaded.error());
  }
  for (const std::string& argument : arguments)
    if (auto loaded = load_one(argument, all); !loaded) return std::unexpected(loaded.error());
  std::ranges::sort(all.scenarios, {}, &Scenario::id);
  const auto repeated = std::ranges::unique(all.scenarios, {}, &Scenario::id);
  all.scenarios.erase(repeated.begin(), repeated.end());
  return all;
}

}  // namespace cli
