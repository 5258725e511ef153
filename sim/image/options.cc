#include "sim/image/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "sim/base/size.h"
#include "sim/base/text.h"

namespace sim::image {

static Error bad_value(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

namespace {

constexpr std::ptrdiff_t kDepthMax = 100;  // of nested objects

// Takes the text up to a single comma off `text`; doubled ones stand for themselves.
std::string take_value(std::string_view& text) {
  std::string value;
  while (!text.empty()) {
    if (text.front() == ',') {
      text.remove_prefix(1);
      if (!text.starts_with(',')) break;
    }
    value += text.front();
    text.remove_prefix(1);
  }
  return value;
}

// The objects on the way to the last part of `key`, made if they are not there; null if something
// else stands there.
Json* place_for(Json& root, std::string_view key) {
  Json* at = &root;
  for (std::size_t dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    at = &(*at)[std::string(key.substr(0, dot))];
    if (at->is_null()) *at = Json::object();
    if (!at->is_object()) return nullptr;
    key.remove_prefix(dot + 1);
  }
  at = &(*at)[std::string(key)];
  return at->is_object() ? nullptr : at;
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> parse_key_values(
    std::string_view text, std::string_view implied) {
  std::vector<std::pair<std::string, std::string>> pairs;
  bool first = true;
  while (!text.empty()) {
    const std::size_t stop = text.find_first_of("=,");
    if (stop != std::string_view::npos && text[stop] == '=') {
      std::string key(text.substr(0, stop));
      text.remove_prefix(stop + 1);
      pairs.emplace_back(std::move(key), take_value(text));
    } else {
      std::string word = take_value(text);
      if (first && !implied.empty())
        pairs.emplace_back(std::string(implied), std::move(word));
      else if (word.starts_with("no"))
        pairs.emplace_back(word.substr(2), "off");
      else
        pairs.emplace_back(std::move(word), "on");
    }
    if (pairs.back().first.empty()) return bad_value("Invalid parameter ''");
    first = false;
  }
  return pairs;
}

Result<Json> parse_image_opts(std::string_view text) {
  TRY(const auto pairs, parse_key_values(text));
  Json options = Json::object();
  for (const auto& [key, value] : pairs) {
    if (std::ranges::count(key, '.') > kDepthMax)
      return bad_value(fmt::format("Invalid parameter '{}'", key));
    Json* place = place_for(options, key);
    if (place == nullptr)
      return bad_value(fmt::format("Cannot mix scalar and non-scalar keys: '{}'", key));
    *place = value;
  }
  return options;
}

Result<bool> switch_of(std::string_view name, std::string_view value) {
  if (is_listed("on|yes|true|y", value)) return true;
  if (is_listed("off|no|false|n", value)) return false;
  return bad_value(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
}

Result<std::uint64_t> number_of(std::string_view name, std::string_view value) {
  std::uint64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [rest, status] = std::from_chars(value.data(), end, number);
  if (status == std::errc{} && rest == end) return number;
  return bad_value(fmt::format("Parameter '{}' expects a number", name));
}

Result<std::uint64_t> size_of(std::string_view name, const std::string& value) {
  auto size = parse_qemu_size(value);
  if (size) return size;
  return bad_value(fmt::format("Parameter '{}' expects a non-negative number below 2^64", name));
}

Result<std::uint32_t> refcount_order_of(std::string_view name, std::string_view value) {
  constexpr std::uint64_t kBitsMax = 64;
  TRY(const std::uint64_t bits, number_of(name, value));
  if (std::has_single_bit(bits) && bits <= kBitsMax)
    return static_cast<std::uint32_t>(std::countr_zero(bits));
  return bad_value("Refcount width must be a power of two and may not exceed 64 bits");
}

}  // namespace sim::image
