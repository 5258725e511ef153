// The shape of the source tree, checked against ARCHITECTURE.md's own words.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Layers = std::map<std::string, std::set<std::string>>;  // room -> rooms it may include

const fs::path kRoot = UNDERSTUDY_SOURCE_DIR;

Layers read_layers(std::vector<std::string>& complaints) {
  std::ifstream in(kRoot / "ARCHITECTURE.md");
  Layers layers;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("```")) {
      inside = line == "```layers";
      continue;
    }
    if (!inside) continue;
    std::istringstream words(line);
    std::string name, colon;
    words >> name >> colon;
    std::set<std::string>& allowed = layers[name];
    for (std::string room; words >> room;) {
      if (!layers.contains(room))  // named before use: a circle cannot be written down
        complaints.push_back(fmt::format("'{}' names '{}' before it is listed", name, room));
      allowed.insert(room);
    }
  }
  return layers;
}

struct SourceFile {
  std::string path;  // relative to the root
  std::vector<std::string> lines;
  std::vector<bool> raw;  // by line: within a raw string, which is data
};

void read_lines(std::istream& in, SourceFile& file) {
  bool raw = false;
  for (std::string line; std::getline(in, line);) {
    if (line.find("R\"(") != std::string::npos) raw = true;
    file.raw.push_back(raw);
    if (line.find(")\"") != std::string::npos) raw = false;
    file.lines.push_back(std::move(line));
  }
}

std::vector<SourceFile> source_files() {
  std::vector<SourceFile> files;
  for (const char* top : {"sim", "conformance", "real-qemu", "real-libvirt", "reports"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
      const auto extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc") continue;
      SourceFile file{fs::relative(entry.path(), kRoot).generic_string(), {}, {}};
      std::ifstream in(entry.path());
      read_lines(in, file);
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

// The deepest room a path is in; "free" for those that may include everything.
std::string room_of(const Layers& layers, const std::string& path) {
  for (const char* free : {"conformance/cli/", "real-qemu/differential/"})
    if (path.starts_with(free)) return "free";
  std::string best;
  for (const auto& [name, allowed] : layers)
    if (path.starts_with(name + "/") && name.size() > best.size()) best = name;
  return best;
}

std::string text_of(const std::vector<std::string>& complaints) {
  return fmt::format("{}", fmt::join(complaints, "\n"));
}

TEST(Layers, EveryIncludeIsAllowed) {
  std::vector<std::string> complaints;
  const Layers layers = read_layers(complaints);
  ASSERT_GT(layers.size(), 10U) << "ARCHITECTURE.md has lost its layers block";
  for (const SourceFile& file : source_files()) {
    const std::string from = room_of(layers, file.path);
    if (from.empty()) complaints.push_back(file.path + ": is in no room of ARCHITECTURE.md");
    for (std::size_t i = 0; i < file.lines.size() && from != "free"; ++i) {
      if (!file.lines[i].starts_with("#include \"")) continue;
      const std::string target = file.lines[i].substr(10, file.lines[i].find('"', 10) - 10);
      const std::string to = room_of(layers, target);
      if (to.empty() || to == "free")
        complaints.push_back(fmt::format("{}:{}: '{}' is not a path from the root into a room",
                                         file.path, i + 1, target));
      else if (to != from && to != "sim/base" && !layers.at(from).contains(to))
        complaints.push_back(
            fmt::format("{}:{}: '{}' may not include '{}'", file.path, i + 1, from, to));
    }
  }
  EXPECT_TRUE(complaints.empty()) << text_of(complaints);
}

struct Ban {
  std::string_view where;  // path prefix
  std::string_view word;
  std::string_view instead;
  std::vector<std::string_view> except = {};
};

const std::vector<Ban>& bans() {
  static const std::vector<Ban> all = {
      {"sim/", "random_device", "world.rng"},
      {"sim/", "system_clock", "the World's clock"},
      {"sim/", "steady_clock", "the World's clock"},
      {"sim/", "unordered_", "std::map: the order of iteration is behaviour"},
      {"sim/", "_distribution", "Rng::below"},
      {"sim/", "std::thread", "coroutines of one World"},
      {"sim/", "getenv", "options of the machine", {"sim/machine/"}},
      {"sim/", "float ", "integers, or Ratio"},
      {"sim/", "double ", "integers, or Ratio"},
      {"", "boost/process", "real-qemu's Process", {"real-qemu/", "conformance/cli/"}},
      {"",
       "libxml/",
       "reports, conformance/domain/xml",
       {"reports/", "conformance/domain/xml/", "real-libvirt/"}},
      {"", "sleep_for", "waiting for an event"},
  };
  return all;
}

TEST(Layers, NothingUsesWhatItsRoomMustNotHave) {
  std::vector<std::string> complaints;
  for (const SourceFile& file : source_files()) {
    if (file.path.ends_with("_test.cc")) continue;
    for (const Ban& ban : bans()) {
      if (!file.path.starts_with(ban.where)) continue;
      if (std::ranges::any_of(ban.except,
                              [&](std::string_view room) { return file.path.starts_with(room); }))
        continue;
      for (std::size_t i = 0; i < file.lines.size(); ++i) {
        const std::string code = file.lines[i].substr(0, file.lines[i].find("//"));
        if (code.find(ban.word) != std::string::npos)
          complaints.push_back(fmt::format("{}:{}: '{}' is banned here, use {}", file.path, i + 1,
                                           ban.word, ban.instead));
      }
    }
  }
  EXPECT_TRUE(complaints.empty()) << text_of(complaints);
}

TEST(Limits, FilesLinesAndNames) {
  std::vector<std::string> complaints;
  for (const SourceFile& file : source_files()) {
    if (file.lines.size() > 700)
      complaints.push_back(fmt::format("{}: {} lines; at most 700", file.path, file.lines.size()));
    for (const char* name : {"/util", "/common/", "/helpers/"})
      if (file.path.find(name) != std::string::npos)
        complaints.push_back(file.path + ": a thing without a home names its home");
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      std::size_t columns = 0;  // UTF-8: count characters, not bytes
      for (const char c : file.lines[i]) columns += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      if (columns > 100 && !file.raw[i])
        complaints.push_back(fmt::format("{}:{}: more than 100 columns", file.path, i + 1));
    }
  }
  EXPECT_TRUE(complaints.empty()) << text_of(complaints);
}

// A function's body: from a line that ends in '{' at namespace or class depth (as clang-format
// indents it) to the '}' at the same indentation.
TEST(Limits, FunctionsHaveAtMost70Lines) {
  std::vector<std::string> complaints;
  for (const SourceFile& file : source_files()) {
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      const std::size_t indent = line.find_first_not_of(' ');
      if (indent == std::string::npos || indent > 2 || !line.ends_with(") {")) continue;
      const std::string code = line.substr(indent);  // statements and lambdas are not functions
      if (code.find("](") != std::string::npos || code.starts_with("if (") ||
          code.starts_with("for (") || code.starts_with("while (") || code.starts_with("switch ("))
        continue;
      std::size_t end = i + 1;
      const std::string close = std::string(indent, ' ') + "}";
      std::size_t count = 1;
      for (; end < file.lines.size() && file.lines[end] != close; ++end) count += !file.raw[end];
      if (count > 70)
        complaints.push_back(
            fmt::format("{}:{}: a function of {} lines; at most 70", file.path, i + 1, count));
    }
  }
  EXPECT_TRUE(complaints.empty()) << text_of(complaints);
}

}  // namespace
