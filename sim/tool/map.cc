// `understudy image map`.

#include "sim/image/map.h"

#include <fmt/format.h>

#include <iterator>

#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

constexpr std::size_t kPrintedAtOnce = 1 << 16;

class Printer {
 public:
  Printer(Invocation& invocation, Output output) : invocation_(invocation), output_(output) {}

  void begin() {
    text_ = output_ == Output::json
                ? "["
                : fmt::format("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
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
  void as_json(const image::MapEntry& entry) {
    const auto out = std::back_inserter(text_);
    if (!first_) text_ += ",\n";
    first_ = false;
    fmt::format_to(out,
                   R"({{ "start": {}, "length": {}, "depth": {}, "present": {}, "zero": {}, )"
                   R"("data": {})",
                   entry.start, entry.length, entry.depth, entry.present, entry.zero, entry.data);
    if (entry.placed) fmt::format_to(out, R"(, "offset": {})", entry.offset);
    text_ += '}';
  }
  void as_text(const image::MapEntry& entry) {
    const auto hex = [](std::uint64_t n) { return n == 0 ? "0" : fmt::format("{:#x}", n); };
    const image::Layer& layer = *entry.layer;
    fmt::format_to(std::back_inserter(text_), "{:<16}{:<16}{:<16}{}\n", hex(entry.start),
                   hex(entry.length), hex(entry.offset),
                   layer.data_file() ? layer.data_name() : layer.name());
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
