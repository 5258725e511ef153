#include "conformance/property/found_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "conformance/scenario/load.h"

namespace conformance::property {

namespace fs = std::filesystem;

namespace {

// The complete text under a name that nobody waits for; to be linked to where it shall be.
sim::Result<std::string> write_beside(const fs::path& path, const std::string& text) {
  std::string name =
      (path.parent_path() / fmt::format(".{}.{}", path.filename().string(), ::getpid())).string();
  const int file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return sim::os_error(errno, path.string());
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(file, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    done += static_cast<std::size_t>(written);
  }
  const int error = done < text.size() || ::fsync(file) != 0 ? errno : 0;
  ::close(file);
  if (error == 0) return name;
  ::unlink(name.c_str());
  return sim::os_error(error, path.string());
}

}  // namespace

sim::Result<std::string> write_found(const Scenario& scenario, const std::string& path) {
  const fs::path wanted(path);
  TRY(const std::string text_file, write_beside(wanted, to_json_text(scenario)));
  int error = EEXIST;
  std::string name = path;
  for (unsigned n = 2; error == EEXIST; ++n) {
    error = ::link(text_file.c_str(), name.c_str()) == 0 ? 0 : errno;
    if (error == EEXIST)
      name = (wanted.parent_path() /
              fmt::format("{}-{}{}", wanted.stem().string(), n, wanted.extension().string()))
                 .string();
  }
  ::unlink(text_file.c_str());
  if (error != 0) return sim::os_error(error, name);
  return name;
}

std::string id_of(const std::string& path) { return fs::path(path).stem().string(); }

std::string quoted_for_shell(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace conformance::property
