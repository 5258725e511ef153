// `understudy image map`.

#include "sim/image/map.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

constexpr std::size_t kColumn = 16;  // characters
constexpr std::size_t kPrintedAtOnce = 1 << 16;
constexpr std::size_t kLineMax = 256;  // of JSON

class Printer {
 public:
  Printer(Invocation& invocation, Output output) : invocation_(invocation), output_(output) {}

  void begin() {
    text_.reserve(kPrintedAtOnce + kLineMax);
    text_ =
        output_ == Output::json ? "[" : "Offset          Length          Mapped to       File\n";
  }
  bool entry(const image::MapEntry& entry) {
    if (output_ == Output::json) {
      as_json(entry);
    } else if (entry.data && !entry.placed) {
      refused_ = true;
    } else if (entry.data && !entry.zero) {
      as_text(entry);
    }
    if (text_.size() >= kPrintedAtOnce) flush();
    return !refused_;
  }
  int end(std::uint64_t start) {
    if (output_ == Output::json) {
      if (first_) as_json({.start = start});
      text_ += "]\n";
    }
    flush();
    if (!refused_) return 0;
    return invocation_.fail("File contains external, encrypted or compressed clusters.");
  }
  void flush() {
    invocation_.print(text_);
    text_.clear();
  }

 private:
  // Tens of thousands of lines are printed: straight into place.
  static char* put(char* at, std::string_view text) {
    std::memcpy(at, text.data(), text.size());
    return at + text.size();
  }
  static char* put(char* at, std::uint64_t number) {
    constexpr std::size_t kDigitsMax = 20;
    return std::to_chars(at, at + kDigitsMax, number).ptr;
  }
  static std::string_view flags(const image::MapEntry& entry) {
    constexpr std::array<std::string_view, 8> kFlags = {
        ", \"present\": false, \"zero\": false, \"data\": false",
        ", \"present\": false, \"zero\": false, \"data\": true",
        ", \"present\": false, \"zero\": true, \"data\": false",
        ", \"present\": false, \"zero\": true, \"data\": true",
        ", \"present\": true, \"zero\": false, \"data\": false",
        ", \"present\": true, \"zero\": false, \"data\": true",
        ", \"present\": true, \"zero\": true, \"data\": false",
        ", \"present\": true, \"zero\": true, \"data\": true"};
    return kFlags.at((entry.present ? 4 : 0) + (entry.zero ? 2 : 0) + (entry.data ? 1 : 0));
  }
  void as_json(const image::MapEntry& entry) {
    const std::size_t before = text_.size();
    text_.resize_and_overwrite(before + kLineMax, [&](char* text, std::size_t) {
      char* at = text + before;
      if (!first_) at = put(at, ",\n");
      at = put(put(at, "{ \"start\": "), entry.start);
      at = put(put(at, ", \"length\": "), entry.length);
      at = put(put(at, ", \"depth\": "), std::uint64_t{entry.depth});
      at = put(at, flags(entry));
      if (entry.placed) at = put(put(at, ", \"offset\": "), entry.offset);
      *at++ = '}';
      return static_cast<std::size_t>(at - text);
    });
    first_ = false;
  }
  void column(std::uint64_t number) {
    std::array<char, 16> digits;
    const auto done = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16);
    const std::size_t start = text_.size();
    if (number != 0) text_ += "0x";
    text_.append(digits.data(), done.ptr);
    text_.append(kColumn - std::min(kColumn, text_.size() - start), ' ');
  }
  void as_text(const image::MapEntry& entry) {
    const image::Layer& layer = *entry.layer;
    column(entry.start);
    column(entry.length);
    column(entry.offset);
    text_ += layer.data_file() ? layer.data_name() : layer.name();
    text_ += '\n';
  }

  Invocation& invocation_;
  Output output_;
  std::string text_;
  bool first_ = true;
  bool refused_ = false;
};

}  // namespace

Task<int> map_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'\0', "output", true},
                                          {'s', "start-offset", true},
                                          {'l', "max-length", true}}))
    co_return *code;
  const auto start = parse_number("start offset", invocation.value("start-offset", "0"));
  if (!start) co_return invocation.fail(start.error().desc);
  const auto most = parse_number("max length", invocation.value("max-length", "0"));
  if (!most) co_return invocation.fail(most.error().desc);
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  const auto output = output_format(invocation);
  if (!output) co_return invocation.fail(output.error().desc);
  const auto layer = co_await image::open_chain(
      invocation.context(), invocation.request(invocation.names().front(), false));
  if (!layer) co_return invocation.fail(layer.error().desc);

  std::uint64_t end = (*layer)->size();
  if (invocation.has("max-length") && *start < end) end = *start + std::min(*most, end - *start);
  Printer printer(invocation, *output);
  printer.begin();
  const auto done = co_await image::map(
      **layer, *start, end, [&](const image::MapEntry& entry) { return printer.entry(entry); });
  if (!done) {
    printer.flush();
    co_return invocation.fail(done.error().desc);
  }
  co_return printer.end(*start);
}

}  // namespace sim::tool
