#include "conformance/domain/lookup.h"

#include <cctype>
#include <charconv>
#include <string_view>

#include "conformance/domain/errors.h"

namespace conformance {

namespace {

struct Indexed {
  std::string target;
  unsigned index = 0;
};

// "vda[2]", as strtoul reads the number; what is no such number, or 0, is the name of a file.
std::optional<Indexed> read_index(const std::string& name) {
  const auto bracket = name.find('[');
  if (bracket == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(name).substr(bracket + 1);
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front())) != 0)
    rest.remove_prefix(1);
  if (rest.starts_with('+')) rest.remove_prefix(1);
  unsigned index = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
  if (error != std::errc() || index == 0) return std::nullopt;
  if (std::string_view(end, rest.data() + rest.size()) != "]") return std::nullopt;
  return Indexed{name.substr(0, bracket), index};
}

// The path without what does not lead anywhere else; nothing if it goes up, which no name of an
// image does that lies where its users do.
std::optional<std::string> plain(std::string_view path) {
  std::string result;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part == "..") return std::nullopt;
    if (!part.empty() && part != ".") result.append("/").append(part);
  }
  return result;
}

bool leads_to(const std::string& name, const Source* above, const Source& image) {
  if (name.empty()) return false;
  const bool absolute = name.starts_with('/');
  if (!absolute && above == nullptr) return false;
  const auto path =
      plain(absolute ? name : above->path.substr(0, above->path.rfind('/') + 1) + name);
  return path && path == plain(image.path);
}

}  // namespace

DomainResult<Source*> find_image(Source& top, const Source* beneath, const std::string& target,
                                 const std::string& name) {
  const auto indexed = read_index(name);
  if (indexed && indexed->target != target) return errors::other_target(indexed->target, target);
  const Source* above = nullptr;
  bool reached = beneath == nullptr;
  for (Source* image = &top; image != nullptr; image = image->beneath.get()) {
    const bool matches = indexed ? image->index == indexed->index
                                 : image->path == name || leads_to(name, above, *image) ||
                                       (!name.empty() && image->relative == name);
    if (reached && matches) return image;
    reached = reached || image == beneath;
    above = image;
  }
  if (indexed) return errors::no_index(indexed->index, target);
  if (beneath != nullptr) return errors::no_image_beneath(name, beneath->path, target);
  return errors::no_image(name, target);
}

std::optional<std::string> relative_name(const Source& from, const Source& base) {
  std::string name;
  for (const Source* image = &from; image != nullptr; image = image->beneath.get()) {
    if (image->relative.empty()) return std::nullopt;
    name = name.substr(0, name.rfind('/') + 1) + image->relative;
    if (image == &base) return name;
  }
  return std::nullopt;
}

}  // namespace conformance
