#include "conformance/run/keep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <vector>

namespace conformance {

namespace fs = std::filesystem;

static std::string flat(std::string name) {
  std::ranges::replace_if(name, [](char c) { return c == '/' || c == ':'; }, '_');
  return name;
}

static bool copy_out(const Files& files, const std::string& name, const fs::path& to) {
  const std::string path = files.directory() + "/" + name;
  std::vector<std::byte> bytes(files.size(path).value_or(0));
  if (!files.read(path, 0, bytes)) return false;
  std::ofstream out(to, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  return out.good();
}

void keep_evidence(const std::string& directory, const std::string& id, const std::string& target,
                   const Files& files, const Transcript& transcript) {
  const fs::path place = fs::path(directory) / flat(id) / flat(target);
  std::error_code error;
  fs::create_directories(place, error);
  bool good = !error;
  if (good)
    for (const std::string& name : files.names())
      good = copy_out(files, name, place / name) && good;
  std::ofstream out(place / "transcript.txt");
  for (const TranscriptEntry& entry : transcript) out << to_line(entry) << "\n";
  if (!good || !out)
    fmt::print(stderr, "understudy: cannot keep everything in {}\n", place.string());
}

}  // namespace conformance
