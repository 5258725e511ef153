// Bytes to tokens, as QEMU's monitors do it: JSON with strings in either kind of quotes, and a rule
// for where to go on after what is no token.  Measured on 5.2, 7.2, 10.0 and 11.1, which are alike.

#pragma once

#include <cstdint>
#include <string>

namespace sim::qmp {

struct Position {
  std::uint64_t line = 1, column = 1;  // of a byte, counted from 1
};

struct Token {
  enum class Kind : std::uint8_t {
    left_brace,
    right_brace,
    left_bracket,
    right_bracket,
    colon,
    comma,
    integer,
    number,  // with a fraction or an exponent
    keyword,
    string,  // with its quotes and escapes
    stray,   // what is no token
    too_long,
  };
  Kind kind = Kind::stray;
  std::string text;
  Position at;  // of its first byte; one column more if that byte ended what was before it (QEMU)
};

class JsonLexer {
 public:
  // A token of more bytes is given up as `too_long`; what follows is read anew.
  static constexpr std::size_t kMostBytes = std::size_t{64} << 20;

  // Takes one byte and calls `take(Token)` for each token that it completes: none, one or two.
  template <class Take>
  void feed(char byte, Take&& take) {
    advance(byte);
    bool consumed = false;
    while (!consumed) {
      if (state_ == State::start) begun_ = {here_.line, here_.column + (ends_another_ ? 1 : 0)};
      const Step step = next(static_cast<unsigned char>(byte));
      consumed = step.consumes;
      ends_another_ = !consumed;
      if (consumed) text_.push_back(byte);
      follow(step, take);
    }
    ends_another_ = false;
    if (text_.size() > kMostBytes) give(Token::Kind::too_long, State::start, take);
  }

  // The end of the text: what is unfinished is a token or is stray.
  template <class Take>
  void finish(Take&& take) {
    while (state_ != State::start) follow(next(0), take);
  }

  // Of the byte that would come next.
  Position end() const { return {here_.line, here_.column + 1}; }

 private:
  enum class State : std::uint8_t {
    start,
    recovery,  // after what is stray: goes on at a structural or control character
    double_quoted,
    double_escape,
    single_quoted,
    single_escape,
    sign,
    zero,
    digits,
    point,
    fraction,
    exponent,
    exponent_sign,
    exponent_digits,
    keyword,
  };
  struct Step {
    enum class Kind : std::uint8_t { go_on, token, stray, skip } kind = Kind::go_on;
    bool consumes = true;
    State state = State::start;                // go_on, skip
    Token::Kind token = Token::Kind::integer;  // token
  };

  void advance(char byte) {
    ++here_.column;
    if (byte == '\n') here_ = {here_.line + 1, 0};
  }
  Step next(unsigned char byte) const;
  Step first(unsigned char byte) const;
  Step in_string(unsigned char byte, char quote, State inside, State escape) const;
  Step in_number(unsigned char byte) const;

  template <class Take>
  void give(Token::Kind kind, State state, Take& take) {
    Token token{kind, std::move(text_), begun_};
    text_.clear();
    state_ = state;
    take(std::move(token));
  }
  template <class Take>
  void follow(const Step& step, Take& take) {
    switch (step.kind) {
      case Step::Kind::go_on:
        state_ = step.state;
        return;
      case Step::Kind::token:
        return give(step.token, State::start, take);
      case Step::Kind::stray:
        return give(Token::Kind::stray, State::recovery, take);
      case Step::Kind::skip:
        text_.clear();
        state_ = step.state;
    }
  }

  State state_ = State::start;
  std::string text_;
  Position here_{1, 0};  // the last byte
  Position begun_;
  bool ends_another_ = false;
};

}  // namespace sim::qmp
