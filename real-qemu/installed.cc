#include "real-qemu/installed.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

namespace real_qemu {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kProgram = "qemu-system-x86_64";
constexpr std::array<std::string_view, 4> kProfiles = {"5.2", "7.2", "10.0", "11.1"};

bool is_program(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

std::string absolute_name(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  return (error ? path : whole).lexically_normal().string();
}

// The numbers of "10.0.13", as far as there are any.
std::vector<unsigned> numbers(std::string_view version) {
  std::vector<unsigned> parts;
  while (!version.empty()) {
    unsigned number = 0;
    const auto [end, error] =
        std::from_chars(version.data(), version.data() + version.size(), number);
    if (error != std::errc{}) break;
    parts.push_back(number);
    version.remove_prefix(static_cast<std::size_t>(end - version.data()));
    if (!version.starts_with('.')) break;
    version.remove_prefix(1);
  }
  return parts;
}

std::optional<std::string> in_path(std::string_view path) {
  while (!path.empty()) {
    const auto end = std::min(path.find(':'), path.size());
    const fs::path candidate = fs::path(path.substr(0, end)) / kProgram;
    if (end != 0 && is_program(candidate)) return absolute_name(candidate);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return std::nullopt;
}

// Names and programs of the installed releases, oldest first.
std::vector<std::pair<std::string, std::string>> releases(const std::string& root) {
  std::vector<std::pair<std::string, std::string>> found;
  std::error_code error;
  for (auto entry = fs::directory_iterator(fs::path(root) / "build" / "qemu", error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const fs::path program = entry->path() / "bin" / kProgram;
    if (!numbers(name).empty() && is_program(program))
      found.emplace_back(name, absolute_name(program));
  }
  std::ranges::sort(found, [](const auto& left, const auto& right) {
    return std::pair(numbers(left.first), left.first) <
           std::pair(numbers(right.first), right.first);
  });
  return found;
}

std::optional<std::string> in_system(const Places& places) {
  if (!places.path.empty()) return in_path(places.path);
  const char* path = ::getenv("PATH");
  return in_path(path == nullptr ? "" : path);
}

// True for "7.2.22" where 7.2 is asked for.
bool is_of(std::string_view version, const std::string& asked) {
  return version == asked || version.starts_with(asked + ".") || version.starts_with(asked + " ");
}

}  // namespace

std::string announced_version(const std::string& program) {
  std::string quoted = "'";
  for (const char c : program) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  FILE* const pipe = ::popen((quoted + "' --version 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return {};
  std::array<char, 256> line{};
  const char* const read = std::fgets(line.data(), line.size(), pipe);
  ::pclose(pipe);
  std::string_view text = read == nullptr ? "" : read;
  constexpr std::string_view kBefore = "version ";
  const std::size_t at = text.find(kBefore);
  if (at == text.npos) return {};
  text.remove_prefix(at + kBefore.size());
  return std::string(text.substr(0, text.find('\n')));
}

std::expected<Installed, std::string> locate(const std::string& spec, const Places& places) {
  if (spec == "qemu") {
    if (auto program = in_system(places)) return Installed{.spec = spec, .program = *program};
    return std::unexpected(
        "there is no qemu-system-x86_64 in the path; install it: "
        "apt-get install qemu-system-x86 (or ./dev setup)");
  }
  if (!spec.starts_with("qemu:") || spec.size() == 5)
    return std::unexpected("'" + spec +
                           "' names no real QEMU: expected qemu, qemu:VERSION or qemu:/PATH");
  const std::string what = spec.substr(5);
  if (what.contains('/')) {
    if (is_program(what)) return Installed{.spec = spec, .program = absolute_name(what)};
    return std::unexpected(what + " is no program that can be run; name a qemu-system-x86_64");
  }
  std::optional<std::string> newest;
  for (const auto& [name, program] : releases(places.root)) {
    if (name == what) return Installed{.spec = spec, .program = program};
    if (is_of(name, what)) newest = program;
  }
  if (newest) return Installed{.spec = spec, .program = *newest};
  if (const auto program = in_system(places); program && is_of(announced_version(*program), what))
    return Installed{.spec = spec, .program = *program};
  return std::unexpected("QEMU " + what + " is not installed in " +
                         absolute_name(fs::path(places.root) / "build" / "qemu") +
                         "; install it: ./dev qemu " + what);
}

std::vector<Installed> installed(const Places& places) {
  std::vector<Installed> found;
  if (auto program = in_system(places)) found.push_back({.spec = "qemu", .program = *program});
  for (auto& [name, program] : releases(places.root))
    found.push_back({.spec = "qemu:" + name, .program = std::move(program)});
  return found;
}

std::string release_of(std::string_view version) {
  const auto its = numbers(version);
  std::string_view best = kProfiles.front();
  for (const auto profile : kProfiles)
    if (numbers(profile) <= its) best = profile;
  return std::string(best);
}

}  // namespace real_qemu
