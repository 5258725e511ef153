#include "sim/machine/option_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/qmp/keyval.h"

namespace sim::machine {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes a value up to a single comma, and that comma, off `text`.
std::string take_value(std::string_view& text) {
  std::string value;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == ',' && !text.starts_with(',')) break;
    if (c == ',') text.remove_prefix(1);
    value.push_back(c);
  }
  return value;
}

class Keyval {
 public:
  Keyval(std::string_view text, std::string_view implied) : rest_(text), implied_(implied) {}

  Result<Json> read() {
    while (!rest_.empty()) {
      TRY_OK(read_pair());
      implied_ = {};
    }
    TRY_OK(qmp::make_lists(tree_));
    return std::move(tree_);
  }

 private:
  static constexpr std::size_t kMostKey = 127;  // bytes of a fragment

  Result<> read_pair() {
    const std::size_t length = std::min(rest_.find_first_of("=,"), rest_.size());
    const std::string_view key = rest_.substr(0, length);
    const bool has_value = length < rest_.size() && rest_[length] == '=';
    if (length > 0 && !has_value) {
      if (key == "help" || key == "?") return generic("Help is not available for this option");
      if (!implied_.empty()) {
        rest_.remove_prefix(std::min(length + 1, rest_.size()));
        tree_[std::string(implied_)] = std::string(key);
        return ok();
      }
    }
    TRY(Json * place, find_place(key));
    if (!has_value) return generic(fmt::format("Expected '=' after parameter '{}'", key));
    rest_.remove_prefix(length + 1);
    *place = take_value(rest_);
    return ok();
  }

  // Goes down the fragments of a key, making objects on the way.
  Result<Json*> find_place(std::string_view key) {
    Json* current = &tree_;
    for (std::size_t begin = 0;;) {
      const std::size_t length = fragment(key.substr(begin), begin == 0);
      const std::size_t end = begin + length;
      if (length == 0 || (end < key.size() && key[end] != '.'))
        return generic(fmt::format("Invalid parameter '{}'", key));
      const std::string_view name = key.substr(begin, length);
      if (length > kMostKey)
        return generic(fmt::format("Parameter{} '{}' is too long",
                                   length == key.size() ? "" : " fragment", name));
      const bool is_last = end == key.size();
      const auto [place, is_new] = current->emplace(name, is_last ? Json("") : Json::object());
      if (place->is_object() == is_last)
        return generic(fmt::format("Parameters '{}.*' used inconsistently", key.substr(0, end)));
      if (is_last) return &*place;
      current = &*place;
      begin = end + 1;
    }
  }

  // Bytes of the name or, behind a point, of the index that `text` begins with.
  static std::size_t fragment(std::string_view text, bool is_first) {
    std::size_t length = 0;
    while (length < text.size() && is_digit(text[length])) ++length;
    if (length > 0) return is_first ? 0 : length;
    if (text.empty() || !is_letter(text.front())) return 0;
    while (length < text.size() && (is_letter(text[length]) || is_digit(text[length]) ||
                                    text[length] == '-' || text[length] == '_'))
      ++length;
    return length;
  }

  std::string_view rest_, implied_;
  Json tree_ = Json::object();
};

}  // namespace

Result<Json> read_keyval(std::string_view text, std::string_view implied) {
  return Keyval(text, implied).read();
}

OptionList OptionList::read(std::string_view text, std::string_view implied) {
  OptionList list;
  bool is_first = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("=,"), text.size());
    const std::string name(text.substr(0, end));
    if (end < text.size() && text[end] == '=') {
      text.remove_prefix(end + 1);
      list.options.emplace_back(name, take_value(text));
    } else if (std::string alone = take_value(text); is_first && !implied.empty()) {
      list.options.emplace_back(implied, std::move(alone));
    } else {
      const bool off = alone.starts_with("no");
      const std::string meant = off ? alone.substr(2) : alone;
      list.options.emplace_back(meant, off ? "off" : "on");
      list.short_forms.emplace_back(alone, meant + (off ? "=off" : "=on"));
    }
    is_first = false;
  }
  return list;
}

std::optional<std::string> OptionList::find(std::string_view name) const {
  const auto found = std::ranges::find(options.rbegin(), options.rend(), name,
                                       &std::pair<std::string, std::string>::first);
  if (found == options.rend()) return std::nullopt;
  return found->second;
}

Result<bool> OptionList::flag(std::string_view name, bool otherwise) const {
  const auto value = find(name);
  if (!value) return otherwise;
  if (*value != "on" && *value != "off")
    return generic(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
  return *value == "on";
}

Result<> OptionList::check_names(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, value] : options)
    if (std::ranges::find(known, name) == known.end())
      return generic(fmt::format("Invalid parameter '{}'", name));
  return ok();
}

Result<> OptionList::check_id() const {
  const auto id = find("id");
  const auto may_follow = [](char c) {
    return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
  };
  if (!id || (!id->empty() && is_letter(id->front()) && std::ranges::all_of(*id, may_follow)))
    return ok();
  return generic(
      "Parameter 'id' expects an identifier\n"
      "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
}

Json OptionList::to_json() const {
  Json json = Json::object();
  for (const auto& [name, value] : options) json[name] = value;
  return json;
}

}  // namespace sim::machine
