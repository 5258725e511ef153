// `understudy image map`.

#include "sim/image/map.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

constexpr std::size_t kColumn = 16;  // characters
constexpr std::size_t kPrintedAtOnce = 1 << 16;

class Printer {
 public:
  Printer(Invocation& invocation, Output output) : invocation_(invocation), output_(output) {}

  void begin() {
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
  // Tens of thousands of lines are printed: numbers go the short way.
  void add(std::uint64_t number) {
    std::array<char, 20> digits;
    const auto done = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    text_.append(digits.data(), done.ptr);
  }
  void add(bool value) { text_ += value ? "true" : "false"; }
  template <class T>
  void member(std::string_view name, T value) {
    text_ += name;
    add(value);
  }
  void as_json(const image::MapEntry& entry) {
    if (!first_) text_ += ",\n";
    first_ = false;
    member("{ \"start\": ", entry.start);
    member(", \"length\": ", entry.length);
    member(", \"depth\": ", std::uint64_t{entry.depth});
    member(", \"present\": ", entry.present);
    member(", \"zero\": ", entry.zero);
    member(", \"data\": ", entry.data);
    if (entry.placed) member(", \"offset\": ", entry.offset);
    text_ += '}';
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
