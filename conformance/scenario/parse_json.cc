#include "conformance/scenario/parse_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "conformance/scenario/first_error.h"

namespace conformance {
namespace {

using sim::Json;

// Builds the document from the parser's calls; answers false to stop it.
class Builder {
 public:
  Builder(std::string_view text, const std::string& file) : text_(text), error_(file) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const Json::string_t&) { return add(value); }
  bool string(Json::string_t& value) {
    if (value.size() > kStringMax) {
      error_.report(next_place(), fmt::format("a string of at most {} bytes", kStringMax));
      return false;
    }
    return add(std::move(value));
  }
  bool binary(Json::binary_t&) { return false; }  // not part of the text format
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(Json::string_t& name) {
    Level& level = levels_.back();
    if (level.value->contains(name)) {
      error_.report(member(level.place, name), "this key only once in its object",
                    "remove one of the two");
      return false;
    }
    level.key = name;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception& exception) {
    // `position` counts the bytes read so far, so the last of them is what could not be.
    const std::string_view before = text_.substr(0, std::min(position, text_.size()));
    const std::string_view up_to = before.substr(0, before.empty() ? 0 : before.size() - 1);
    const auto line = 1 + std::ranges::count(up_to, '\n');
    const std::size_t line_start = up_to.rfind('\n') + 1;  // 0 if there is none
    std::string reason = exception.what();
    for (const std::string_view lead : {"] ", "column ", ": "})
      if (const std::size_t at = reason.find(lead); at != std::string::npos)
        reason.erase(0, at + (lead == "column " ? 0 : lead.size()));
    error_.report(fmt::format("line {}, column {}", line, up_to.size() - line_start + 1),
                  fmt::format("JSON ({})", reason));
    return false;
  }

  InputResult<Json> result() {
    if (error_) return error_.unexpected();
    return std::move(root_);
  }

 private:
  struct Level {
    Json* value;
    std::string place;
    std::string key;  // the one being read, in an object
  };

  std::string next_place() const {
    if (levels_.empty()) return "";
    const Level& level = levels_.back();
    return level.value->is_object() ? member(level.place, level.key)
                                    : element(level.place, level.value->size());
  }

  Json* place_value(Json&& value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_object()) return &((*level.value)[level.key] = std::move(value));
    level.value->push_back(std::move(value));
    return &level.value->back();
  }

  bool add(Json value) {
    place_value(std::move(value));
    return true;
  }

  bool open(Json container) {
    const std::string place = next_place();
    if (levels_.size() == kDepthMax) {
      error_.report(place, fmt::format("at most {} levels of nesting", kDepthMax));
      return false;
    }
    levels_.push_back({place_value(std::move(container)), place, {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view text_;
  FirstError error_;
  Json root_;
  std::vector<Level> levels_;
};

}  // namespace

InputResult<Json> parse_json(std::string_view text, const std::string& file) {
  Builder builder(text, file);
  Json::sax_parse(text, &builder, Json::input_format_t::json, /*strict=*/true,
                  /*ignore_comments=*/true);
  return builder.result();
}

}  // namespace conformance
