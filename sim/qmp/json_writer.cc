#include "sim/qmp/json_writer.h"

#include <fmt/format.h>

#include <cfloat>
#include <cmath>
#include <vector>

#include "sim/qmp/hash_order.h"
#include "sim/qmp/utf8.h"

namespace sim::qmp {

namespace {

class Writer {
 public:
  Writer(const Profile& profile, Style style)
      : profile_(profile), pretty_(style == Style::pretty) {}

  void put(const Json& value) {
    switch (value.type()) {
      case Json::value_t::object:
        return put_object(value);
      case Json::value_t::array:
        return put_array(value);
      case Json::value_t::string:
        return put_string(value.get_ref<const std::string&>());
      case Json::value_t::number_float:
        text_ += number(value);
        return;
      default:
        text_ += value.dump();
    }
  }
  std::string take() { return std::move(text_); }

 private:
  // Between two items, and in front of the first.
  void begin_item(bool is_first) {
    if (!is_first) text_ += pretty_ ? "," : ", ";
    if (pretty_) new_line();
  }
  void new_line() {
    text_ += '\n';
    text_.append(4 * level_, ' ');
  }
  void end(char bracket) {
    --level_;
    if (pretty_) new_line();
    text_ += bracket;
  }

  void put_object(const Json& value) {
    std::vector<std::string_view> names;
    for (const auto& [name, member] : value.items()) names.push_back(name);
    sort_as_dictionary(names);
    text_ += '{';
    ++level_;
    bool is_first = true;
    for (const std::string_view name : names) {
      begin_item(std::exchange(is_first, false));
      put_string(name);
      text_ += ": ";
      put(*value.find(name));
    }
    end('}');
  }
  void put_array(const Json& value) {
    text_ += '[';
    ++level_;
    bool is_first = true;
    for (const Json& element : value) {
      begin_item(std::exchange(is_first, false));
      put(element);
    }
    end(']');
  }

  void put_string(std::string_view text) {
    text_ += '"';
    while (!text.empty()) {
      const char byte = text.front();
      std::int32_t value = 0;
      if (byte == 0)
        text.remove_prefix(1);
      else
        value = take_code_point(text);
      put_character(value == kNoCodePoint ? 0xFFFD : value);
    }
    text_ += '"';
  }
  void put_character(std::int32_t value) {
    static constexpr std::string_view kNamed = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
    const auto named = value < 0x80 ? kNamed.find(static_cast<char>(value)) : kNamed.npos;
    if (named != kNamed.npos) {
      text_ += '\\';
      text_ += kNames[named];
    } else if (value >= 0x20 && value < 0x7F) {
      text_ += static_cast<char>(value);
    } else if (value > 0xFFFF) {
      const std::int32_t pair = value - 0x10000;
      text_ += fmt::format("\\u{:04X}\\u{:04X}", 0xD800 | pair >> 10, 0xDC00 | (pair & 0x3FF));
    } else {
      text_ += fmt::format("\\u{:04X}", value);
    }
  }

  std::string number(const Json& value) const {
    auto number = value.get<double>();
    if (std::isinf(number)) number = number < 0 ? -DBL_MAX : DBL_MAX;
    if (profile_.json_numbers_keep_17_digits) return fmt::format("{:.17g}", number);
    std::string text = fmt::format("{:f}", number);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text;
  }

  const Profile& profile_;
  const bool pretty_;
  std::size_t level_ = 0;
  std::string text_;
};

}  // namespace

std::string write_json(const Json& value, const Profile& profile, Style style) {
  Writer writer(profile, style);
  writer.put(value);
  return writer.take();
}

}  // namespace sim::qmp
