// What names mean, and where the policy stops them.

#include <fmt/format.h>

#include <vector>

#include "sim/base/text.h"
#include "sim/image/open.h"

namespace sim::image {

namespace {

// "/a/./b/../c" is "/a/c".
std::string without_dots(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!part.empty() && part != "." && part != "..") parts.push_back(part);
  }
  std::string joined;
  for (const std::string_view part : parts) (joined += '/') += part;
  return joined.empty() ? "/" : joined;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

bool lies_beneath(const std::string& path, const std::string& directory) {
  return path.starts_with(directory) && path.size() > directory.size() &&
         (directory.ends_with('/') || path[directory.size()] == '/');
}

}  // namespace

std::string absolute(const Context& context, const std::string& name) {
  std::string path = name.starts_with('/') ? name : context.working_directory + "/" + name;
  // What ".." leaves may be a link: the file system knows.
  if (path.find("..") != std::string::npos) {
    if (const auto directory = context.files.canonical(directory_of(path)))
      path = *directory + "/" + path.substr(path.rfind('/') + 1);
  }
  return without_dots(path);
}

std::string compose_name(const std::string& image_name, const std::string& name) {
  if (name.starts_with('/') || has_protocol(name)) return name;
  return directory_of(image_name) + name;
}

Result<> confine(const Context& context, const std::string& image_path, const std::string& path) {
  if (context.policy.allow_outside) return ok();
  TRY(const std::string root, context.files.canonical(without_dots(directory_of(image_path))));
  auto target = context.files.canonical(path);
  // What is not there is refused by its name alone.
  const std::string resolved = target ? *std::move(target) : without_dots(path);
  if (lies_beneath(resolved, root)) return ok();
  return Error{ErrorClass::generic,
               fmt::format("the image refers to '{}', which is outside of its directory '{}'; "
                           "--allow-outside allows it",
                           path, root),
               EPERM};
}

std::string without_protocol(const std::string& name) {
  constexpr std::string_view kFile = "file:";
  return name.starts_with(kFile) ? name.substr(kFile.size()) : name;
}

Result<std::string> follow(const Context& context, const std::string& image_path,
                           const std::string& name) {
  if (has_protocol(name))
    return Error{ErrorClass::generic,
                 fmt::format("the image refers to '{}': only names of files are followed", name),
                 EPERM};
  std::string path = absolute(context, compose_name(image_path, name));
  TRY_OK(confine(context, image_path, path));
  return path;
}

}  // namespace sim::image
