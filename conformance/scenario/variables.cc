#include "conformance/scenario/variables.h"

#include <fmt/format.h>

#include <functional>
#include <string_view>

namespace conformance {
namespace {

using sim::Json;

constexpr std::string_view kSpread = "...";

// Calls `plain` with each stretch of ordinary text and `variable` with what is between the braces.
// `${dir}` counts as ordinary text.
void scan(const std::string& text, const std::string& place, FirstError& error,
          const std::function<void(std::string_view)>& plain,
          const std::function<void(std::string_view)>& variable) {
  const std::string_view all = text;
  std::size_t done = 0;
  while (done < all.size()) {
    const std::size_t begin = all.find("${", done);
    plain(all.substr(done, begin == all.npos ? all.npos : begin - done));
    if (begin == all.npos) return;
    const std::size_t end = all.find('}', begin);
    if (end == all.npos) {
      error.report(place, "a `}` after `${`");
      return;
    }
    const std::string_view name = all.substr(begin + 2, end - begin - 2);
    if (name == "dir")
      plain("${dir}");
    else
      variable(name);
    done = end + 1;
  }
}

std::string_view without_spread(std::string_view name) {
  return name.ends_with(kSpread) ? name.substr(0, name.size() - kSpread.size()) : name;
}

const Json* find(const Variables& variables, std::string_view name, const std::string& place,
                 FirstError& error) {
  const auto found = variables.find(std::string(name));
  if (found != variables.end()) return &found->second;
  error.report(place, fmt::format("a variable that is defined, not `${{{}}}`", name),
               "define it in the matrix, under \"vars\"; the target's directory is ${dir}");
  return nullptr;
}

Json substitute_string(const std::string& text, const Variables& variables,
                       const std::string& place, FirstError& error) {
  // Everything: a value of any type.
  if (text.starts_with("${") && text != "${dir}" && text.find('}') == text.size() - 1) {
    const std::string_view name = std::string_view(text).substr(2, text.size() - 3);
    const Json* value = find(variables, name, place, error);
    return value == nullptr ? Json() : *value;
  }
  std::string result;
  scan(
      text, place, error, [&](std::string_view plain) { result += plain; },
      [&](std::string_view name) {
        const Json* value = find(variables, name, place, error);
        if (value == nullptr) return;
        if (value->is_string())
          result += value->get_ref<const std::string&>();
        else if (value->is_number_integer())
          result += value->dump();
        else
          error.report(place, fmt::format("`${{{}}}` to be a string or an integer here", name));
      });
  return result;
}

Json substitute_array(const Json& array, const Variables& variables, const std::string& place,
                      FirstError& error) {
  Json result = Json::array();
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::string here = element(place, i);
    const std::string* text = array[i].get_ptr<const std::string*>();
    if (text == nullptr || !text->starts_with("${") || !text->ends_with("...}")) {
      result.push_back(substitute(array[i], variables, here, error));
      continue;
    }
    const std::string_view name = std::string_view(*text).substr(2, text->size() - 6);
    const Json* value = find(variables, name, here, error);
    if (value == nullptr) continue;
    if (!value->is_array()) {
      error.report(here, fmt::format("`${{{}}}` to be an array", name));
      continue;
    }
    for (const Json& one : *value) result.push_back(one);
  }
  return result;
}

}  // namespace

void collect_variables(const Json& value, const std::string& place, std::set<std::string>& names,
                       FirstError& error) {
  if (const std::string* text = value.get_ptr<const std::string*>()) {
    scan(
        *text, place, error, [](std::string_view) {},
        [&](std::string_view name) { names.emplace(without_spread(name)); });
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i)
      collect_variables(value[i], element(place, i), names, error);
  } else if (value.is_object()) {
    for (const auto& [key, inner] : value.items())
      collect_variables(inner, member(place, key), names, error);
  }
}

Json substitute(const Json& value, const Variables& variables, const std::string& place,
                FirstError& error) {
  if (value.is_string())
    return substitute_string(value.get_ref<const std::string&>(), variables, place, error);
  if (value.is_array()) return substitute_array(value, variables, place, error);
  if (!value.is_object()) return value;
  Json result = Json::object();
  for (const auto& [key, inner] : value.items())
    result[key] = substitute(inner, variables, member(place, key), error);
  return result;
}

}  // namespace conformance
