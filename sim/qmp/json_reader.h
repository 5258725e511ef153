// JSON as QEMU's monitors read it: a stream of values, each an answer or a complaint of its own.
//
// Beyond RFC 8259 it takes strings in single quotes with \' in them; it refuses duplicate keys,
// control characters and noncharacters in strings, more than 1024 levels, 2 Mi tokens or 64 MiB of
// tokens in one value.  Behind a mistake the stream goes on where the braces and brackets of the
// broken value are closed, or at once if the mistake was no token at all; a byte 0xFF is the sure
// way to begin anew.
//
// Source: measured on 5.2, 7.2, 10.0 and 11.1 (real-qemu/differential/wire_test.cc).  Until 10.0 a
// value is parsed when it is complete; 11.1 parses token by token, complains at once, in other
// words, and says where, by line and column of the whole stream.

#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/profile/profile.h"
#include "sim/qmp/json_lexer.h"

namespace sim::qmp {

class JsonReader {
 public:
  static constexpr int kMostLevels = 1024;
  static constexpr std::size_t kMostTokens = std::size_t{2} << 20;

  explicit JsonReader(const Profile& profile) : at_once_(profile.json_parsed_at_once) {}

  // Takes bytes off the front of `bytes` until they make a value or a mistake, and gives that;
  // nothing if they are used up.  A scalar is complete only when something follows it.
  std::optional<Result<Json>> next(std::string_view& bytes);

  // The end of the stream: what was begun is a value or a mistake.  To be called until it gives
  // nothing.
  std::optional<Result<Json>> finish();

 private:
  enum class Expected : std::uint8_t { value, first_element, first_key, key, colon, comma };
  struct Frame {
    Json value;
    std::string key = {};    // of the member whose value comes
    bool reads_key = false;  // what comes is a key, whatever it is
  };

  std::optional<Result<Json>> take_done();
  void take(Token token);
  void count(const Token& token);
  bool check_limits(const Token& token);
  void parse(const Token& token);
  void parse_key(const Token& token);
  void parse_value(const Token& token);
  void complete(Json value, Position at);
  void close(Position at);
  void fail(std::string text, Position at);
  void refuse(std::string text);
  void reset();
  Error error(std::string text, Position at) const;

  const bool at_once_;
  JsonLexer lexer_;
  std::deque<Result<Json>> done_;

  // The value that is being read.
  int braces_ = 0, brackets_ = 0;
  std::size_t tokens_ = 0, bytes_ = 0;
  Expected expected_ = Expected::value;
  std::vector<Frame> frames_;
  std::optional<Json> value_;
  std::optional<Error> error_;  // the first mistake in it
};

// The one value that a text is: QEMU's qobject_from_json(), which command lines go through.
Result<Json> parse_json(std::string_view text, const Profile& profile);

}  // namespace sim::qmp
