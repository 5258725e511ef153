#include "sim/qmp/json_reader.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "sim/base/check.h"
#include "sim/qmp/json_string.h"
#include "sim/qmp/utf8.h"

namespace sim::qmp {

using Kind = Token::Kind;

namespace {

// What does not fit into 64 bits, signed or unsigned, is a floating number.
Json integer_of(const std::string& text) {
  const char* const end = text.data() + text.size();
  std::int64_t number = 0;
  if (std::from_chars(text.data(), end, number).ec == std::errc()) return number;
  std::uint64_t large = 0;
  if (std::from_chars(text.data(), end, large).ec == std::errc()) return large;
  return std::strtod(text.c_str(), nullptr);
}

bool ends(Kind kind, const Json& value) {
  return kind == (value.is_object() ? Kind::right_brace : Kind::right_bracket);
}

}  // namespace

std::optional<Result<Json>> JsonReader::take_done() {
  if (done_.empty()) return std::nullopt;
  Result<Json> result = std::move(done_.front());
  done_.pop_front();
  return result;
}

std::optional<Result<Json>> JsonReader::next(std::string_view& bytes) {
  while (done_.empty() && !bytes.empty()) {
    lexer_.feed(bytes.front(), [this](Token token) { take(std::move(token)); });
    bytes.remove_prefix(1);
  }
  return take_done();
}

std::optional<Result<Json>> JsonReader::finish() {
  lexer_.finish([this](Token token) { take(std::move(token)); });
  if (tokens_ > 0) {
    if (!error_) fail(at_once_ ? "premature end of input" : "premature EOI", lexer_.end());
    if (!at_once_) done_.emplace_back(*std::move(error_));
    reset();
  }
  return take_done();
}

void JsonReader::take(Token token) {
  count(token);
  if (token.kind == Kind::stray) {
    if (!at_once_ || !error_)
      done_.emplace_back(error(fmt::format("stray '{}'", shown(token.text)), token.at));
    return reset();
  }
  if (!check_limits(token)) {
    if (!at_once_) return;  // it begins anew
  } else {
    ++tokens_;
    bytes_ += token.text.size();
    if (!error_) parse(token);
  }
  if ((braces_ > 0 || brackets_ > 0) && braces_ >= 0 && brackets_ >= 0) return;
  if (!error_) {
    CHECK(value_, "balanced and without a mistake is complete");
    done_.emplace_back(*std::move(value_));
  } else if (!at_once_) {
    done_.emplace_back(*std::move(error_));
  }
  reset();
}

void JsonReader::count(const Token& token) {
  braces_ += (token.kind == Kind::left_brace) - (token.kind == Kind::right_brace);
  brackets_ += (token.kind == Kind::left_bracket) - (token.kind == Kind::right_bracket);
}

bool JsonReader::check_limits(const Token& token) {
  const char* what = nullptr;
  if (token.kind == Kind::too_long || bytes_ + token.text.size() + 1 > JsonLexer::kMostBytes)
    what = "token size";
  else if (tokens_ + 1 > kMostTokens)
    what = "token count";
  else if (braces_ + brackets_ > kMostLevels)
    what = "nesting depth";
  if (what == nullptr) return true;
  refuse(fmt::format("JSON {} limit exceeded", what));
  return false;
}

// Too much of something: until 10.0 what was read is forgotten at once.
void JsonReader::refuse(std::string text) {
  if (at_once_ && error_) return;
  error_ = Error{ErrorClass::generic, std::move(text)};
  done_.emplace_back(*error_);
  if (!at_once_) reset();
}

void JsonReader::parse(const Token& token) {
  switch (expected_) {
    case Expected::colon:
      if (token.kind != Kind::colon)
        return fail(at_once_ ? "expecting ':'" : "missing : in object pair", token.at);
      expected_ = Expected::value;
      return;
    case Expected::comma: {
      const Json& value = frames_.back().value;
      if (ends(token.kind, value)) return close(token.at);
      if (token.kind == Kind::comma) {
        expected_ = value.is_object() ? Expected::key : Expected::value;
        return;
      }
      if (at_once_)
        return fail(value.is_object() ? "expected ',' or '}'" : "expected ',' or ']'", token.at);
      return fail(value.is_object() ? "expected separator in dict" : "expected separator in list",
                  token.at);
    }
    case Expected::first_key:
      if (token.kind == Kind::right_brace) return close(token.at);
      [[fallthrough]];
    case Expected::key:
      return parse_key(token);
    case Expected::first_element:
      if (token.kind == Kind::right_bracket) return close(token.at);
      [[fallthrough]];
    case Expected::value:
      return parse_value(token);
  }
}

// Until 10.0 a key is read as any value, and then seen to be no string.
void JsonReader::parse_key(const Token& token) {
  if (at_once_ && token.kind != Kind::string) return fail("expecting key", token.at);
  frames_.back().reads_key = true;
  parse_value(token);
}

void JsonReader::parse_value(const Token& token) {
  switch (token.kind) {
    case Kind::left_brace:
      frames_.push_back({Json::object()});
      expected_ = Expected::first_key;
      return;
    case Kind::left_bracket:
      frames_.push_back({Json::array()});
      expected_ = Expected::first_element;
      return;
    case Kind::string: {
      auto text = decode_string(token.text);
      if (!text) return fail(std::move(text).error(), token.at);
      return complete(*std::move(text), token.at);
    }
    case Kind::integer:
      return complete(integer_of(token.text), token.at);
    case Kind::number:
      return complete(std::strtod(token.text.c_str(), nullptr), token.at);
    case Kind::keyword:
      if (token.text == "true" || token.text == "false")
        return complete(token.text == "true", token.at);
      if (token.text == "null") return complete(nullptr, token.at);
      return fail(fmt::format("invalid keyword '{}'", token.text), token.at);
    default:
      return fail("expecting value", token.at);
  }
}

void JsonReader::complete(Json value, Position at) {
  if (frames_.empty()) {
    value_ = std::move(value);
    return;
  }
  Frame& frame = frames_.back();
  if (frame.value.is_array()) {
    frame.value.push_back(std::move(value));
  } else if (frame.reads_key) {
    if (!value.is_string()) return fail("key is not a string in object", at);
    frame.key = std::move(value.get_ref<std::string&>());
    frame.reads_key = false;
    expected_ = Expected::colon;
    return;
  } else if (!frame.value.emplace(frame.key, std::move(value)).second) {
    return fail("duplicate key", at);
  }
  expected_ = Expected::comma;
}

void JsonReader::close(Position at) {
  Json value = std::move(frames_.back().value);
  frames_.pop_back();
  complete(std::move(value), at);
}

Error JsonReader::error(std::string text, Position at) const {
  std::string desc = "JSON parse error, " + std::move(text);
  if (at_once_) desc = fmt::format("{}:{}: {}", at.line, at.column, desc);
  return {ErrorClass::generic, std::move(desc)};
}

void JsonReader::fail(std::string text, Position at) {
  error_ = error(std::move(text), at);
  if (at_once_) done_.emplace_back(*error_);
}

void JsonReader::reset() {
  braces_ = brackets_ = 0;
  tokens_ = bytes_ = 0;
  expected_ = Expected::value;
  frames_.clear();
  value_.reset();
  error_.reset();
}

Result<Json> parse_json(std::string_view text, const Profile& profile) {
  JsonReader reader(profile);
  std::optional<Result<Json>> result;
  bool several = false;
  const auto keep = [&](Result<Json> found) {
    if (!result) {
      result = std::move(found);
    } else if (result->ok() && !several) {
      several = true;
      result = Error{ErrorClass::generic, "Expecting at most one JSON value"};
    }
  };
  while (auto found = reader.next(text)) keep(*std::move(found));
  while (auto found = reader.finish()) keep(*std::move(found));
  if (!result) return Error{ErrorClass::generic, "Expecting a JSON value"};
  return *std::move(result);
}

}  // namespace sim::qmp
