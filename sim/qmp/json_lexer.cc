#include "sim/qmp/json_lexer.h"

#include <string_view>

namespace sim::qmp {

using enum Token::Kind;

static bool is_digit(unsigned char byte) { return byte >= '0' && byte <= '9'; }

JsonLexer::Step JsonLexer::next(unsigned char byte) const {
  switch (state_) {
    case State::start:
      return first(byte);
    case State::recovery:
      if (byte < 0x20 || byte >= 0xFE || std::string_view("{}[]:,").contains(char(byte)))
        return {Step::Kind::skip, false, State::start};
      return {Step::Kind::skip, true, State::recovery};
    case State::double_quoted:
      return in_string(byte, '"', State::double_quoted, State::double_escape);
    case State::single_quoted:
      return in_string(byte, '\'', State::single_quoted, State::single_escape);
    case State::double_escape:
    case State::single_escape: {
      if (byte < 0x20 || byte >= 0xFE) return {Step::Kind::stray};
      const bool doubly = state_ == State::double_escape;
      return {Step::Kind::go_on, true, doubly ? State::double_quoted : State::single_quoted};
    }
    case State::keyword:
      if (byte >= 'a' && byte <= 'z') return {Step::Kind::go_on, true, State::keyword};
      return {Step::Kind::token, false, State::start, keyword};
    default:
      return in_number(byte);
  }
}

JsonLexer::Step JsonLexer::first(unsigned char byte) const {
  const auto token = [](Token::Kind kind) {
    return Step{Step::Kind::token, true, State::start, kind};
  };
  switch (byte) {
    case '{':
      return token(left_brace);
    case '}':
      return token(right_brace);
    case '[':
      return token(left_bracket);
    case ']':
      return token(right_bracket);
    case ':':
      return token(colon);
    case ',':
      return token(comma);
    case '"':
      return {Step::Kind::go_on, true, State::double_quoted};
    case '\'':
      return {Step::Kind::go_on, true, State::single_quoted};
    case '-':
      return {Step::Kind::go_on, true, State::sign};
    case '0':
      return {Step::Kind::go_on, true, State::zero};
    case ' ':
    case '\t':
    case '\r':
    case '\n':
      return {Step::Kind::skip};
    default:
      if (is_digit(byte)) return {Step::Kind::go_on, true, State::digits};
      if (byte >= 'a' && byte <= 'z') return {Step::Kind::go_on, true, State::keyword};
      return {Step::Kind::stray};
  }
}

JsonLexer::Step JsonLexer::in_string(unsigned char byte, char quote, State inside,
                                     State escape) const {
  if (byte < 0x20 || byte >= 0xFE) return {Step::Kind::stray};
  if (byte == static_cast<unsigned char>(quote))
    return {Step::Kind::token, true, State::start, string};
  return {Step::Kind::go_on, true, byte == '\\' ? escape : inside};
}

JsonLexer::Step JsonLexer::in_number(unsigned char byte) const {
  const auto go_on = [](State state) { return Step{Step::Kind::go_on, true, state}; };
  const bool is_e = byte == 'e' || byte == 'E';
  switch (state_) {
    case State::sign:
      if (byte == '0') return go_on(State::zero);
      return is_digit(byte) ? go_on(State::digits) : Step{Step::Kind::stray};
    case State::zero:  // no exponent behind it: "0e1" is two tokens
      if (is_digit(byte)) return {Step::Kind::stray};
      if (byte == '.') return go_on(State::point);
      return {Step::Kind::token, false, State::start, integer};
    case State::digits:
      if (is_digit(byte)) return go_on(State::digits);
      if (byte == '.') return go_on(State::point);
      if (is_e) return go_on(State::exponent);
      return {Step::Kind::token, false, State::start, integer};
    case State::point:
      return is_digit(byte) ? go_on(State::fraction) : Step{Step::Kind::stray};
    case State::fraction:
      if (is_digit(byte)) return go_on(State::fraction);
      if (is_e) return go_on(State::exponent);
      return {Step::Kind::token, false, State::start, number};
    case State::exponent:
      if (byte == '+' || byte == '-') return go_on(State::exponent_sign);
      [[fallthrough]];
    case State::exponent_sign:
      return is_digit(byte) ? go_on(State::exponent_digits) : Step{Step::Kind::stray};
    default:
      if (is_digit(byte)) return go_on(State::exponent_digits);
      return {Step::Kind::token, false, State::start, number};
  }
}

}  // namespace sim::qmp
