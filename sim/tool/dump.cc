// `dump`: every structure of a qcow2 file, for people and as JSON.
//
// The JSON is one object: "file", "length", an array for each section ("header", "refcounts", "l1",
// "l2", "snapshots", "bitmaps", "clusters"; "place" for --at, "guest" for --guest), "problems" (how
// many) and "complete".  An element has "kind", "offset" and "bytes" (of the file), "text" (what
// people are told), "problems" where there are any, and the members of its kind.  An element whose
// "count" is n stands for n entries: the following ones say the same, or, where "host" is there,
// lie one cluster further each.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "sim/image/dump.h"
#include "sim/tool/invocation.h"
#include "sim/tool/tool.h"

namespace sim::tool {

namespace {

using image::DumpRecord;
using image::DumpSection;

class TextSink final : public image::DumpSink {
 public:
  explicit TextSink(const Invocation& invocation) : invocation_(invocation) {}

  void section(DumpSection section) override {
    invocation_.print(fmt::format("{}{}\n", first_ ? "" : "\n", title_of(section)));
    first_ = false;
  }
  void table(const DumpRecord& record) override {
    line(fmt::format("  {:#012x}  {}, {} bytes{}{}", record.offset, record.name, record.bytes,
                     record.meaning.empty() ? "" : ": ", record.meaning));
    problems(record);
  }
  void record(const DumpRecord& record) override {
    line(fmt::format("  {:#012x}  {:<23} {:<16}  {}", record.offset, record.name, record.value,
                     record.meaning));
    problems(record);
  }

 private:
  static std::string_view title_of(DumpSection section) {
    switch (section) {
      case DumpSection::header:
        return "HEADER";
      case DumpSection::refcounts:
        return "REFCOUNTS";
      case DumpSection::l1:
        return "ACTIVE L1 TABLE";
      case DumpSection::l2:
        return "L2 TABLES";
      case DumpSection::snapshots:
        return "SNAPSHOTS";
      case DumpSection::bitmaps:
        return "BITMAPS";
      case DumpSection::clusters:
        return "CLUSTERS OF THE FILE";
      case DumpSection::place:
        return "WHAT IS THERE";
      case DumpSection::guest:
        return "THE WAY THERE";
    }
    return "";
  }
  void problems(const DumpRecord& record) {
    for (const std::string& problem : record.problems)
      line(fmt::format("  {:>12}  {}", "!!", problem));
  }
  // Prints a line, broken at blanks where it is too long.
  void line(std::string text) {
    constexpr std::size_t kWidth = 100, kIndent = 20;
    while (text.size() > kWidth) {
      const std::size_t blank = text.rfind(' ', kWidth);
      if (blank == std::string::npos || blank <= kIndent) break;
      invocation_.print(text.substr(0, text.find_last_not_of(' ', blank) + 1) + "\n");
      text = std::string(kIndent, ' ') + text.substr(blank + 1);
    }
    invocation_.print(text.substr(0, text.find_last_not_of(' ') + 1) + "\n");
  }

  const Invocation& invocation_;
  bool first_ = true;
};

class JsonSink final : public image::DumpSink {
 public:
  explicit JsonSink(const Invocation& invocation) : invocation_(invocation) {}

  void section(DumpSection section) override {
    close();
    invocation_.print(fmt::format(",\n\"{}\": [", image::name_of(section)));
    open_ = true;
    empty_ = true;
  }
  void table(const DumpRecord& record) override { this->record(record); }
  void record(const DumpRecord& record) override {
    Json element = record.fields;
    element["kind"] = record.kind;
    element["offset"] = record.offset;
    element["bytes"] = record.bytes;
    if (!record.meaning.empty()) element["text"] = record.meaning;
    if (!record.problems.empty()) element["problems"] = record.problems;
    invocation_.print(empty_ ? "\n" : ",\n");
    invocation_.print(element.dump(-1, ' ', false, Json::error_handler_t::replace));
    empty_ = false;
  }
  void close() {
    if (open_) invocation_.print(empty_ ? "]" : "\n]");
    open_ = false;
  }

 private:
  const Invocation& invocation_;
  bool open_ = false, empty_ = true;
};

Result<image::DumpRequest> request_of(const Invocation& invocation) {
  image::DumpRequest request;
  if (invocation.has("only")) {
    const std::string name = invocation.value("only");
    for (int i = 0; i <= static_cast<int>(DumpSection::clusters); ++i)
      if (image::name_of(static_cast<DumpSection>(i)) == name)
        request.only = static_cast<DumpSection>(i);
    if (!request.only)
      return Error{ErrorClass::generic,
                   "--only takes header, refcounts, l1, l2, snapshots, bitmaps or clusters",
                   EINVAL};
  }
  // Offsets are often copied from a dump: hexadecimal is understood, too.
  const auto offset_of = [&](const char* option) -> Result<std::optional<std::uint64_t>> {
    if (!invocation.has(option)) return std::optional<std::uint64_t>();
    const std::string text = invocation.value(option);
    if (text.starts_with("0x") && text.size() > 2 && text.size() <= 18 &&
        text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos)
      return std::optional<std::uint64_t>(std::stoull(text.substr(2), nullptr, 16));
    TRY(const std::uint64_t value, parse_number(option, text));
    return std::optional<std::uint64_t>(value);
  };
  TRY(request.at, offset_of("at"));
  TRY(request.guest, offset_of("guest"));
  if (request.at.has_value() + request.guest.has_value() + request.only.has_value() > 1)
    return Error{ErrorClass::generic, "only one of --only, --at and --guest can be given", EINVAL};
  return request;
}

}  // namespace

Task<int> dump_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'\0', "output", true},
                                          {'\0', "only", true},
                                          {'\0', "at", true},
                                          {'\0', "guest", true}}))
    co_return *code;
  const std::string output = invocation.value("output", "human");
  if (output != "human" && output != "json")
    co_return invocation.fail("--output must be used with human or json as argument.");
  if (invocation.value("format", "qcow2") != "qcow2")
    co_return invocation.fail("dump shows qcow2 files only");
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  const std::string& name = invocation.names().front();
  const auto request = request_of(invocation);
  if (!request) co_return invocation.fail(request.error().desc);
  const auto file = invocation.files().open(image::absolute(invocation.context(), name),
                                            storage::Access::read_only);
  if (!file)
    co_return invocation.fail(fmt::format("Could not open '{}': {}", name, file.error().desc));
  if (!invocation.has("force-share")) {
    const auto claimed =
        image::claim_file(**file, name, {.others_may_write = false, .others_may_resize = false});
    if (!claimed)
      co_return invocation.fail(fmt::format("Could not open '{}': {}", name, claimed.error().desc));
  }
  Result<image::Dumped> dumped = image::Dumped{};
  if (output == "human") {
    TextSink sink(invocation);
    dumped = co_await image::dump(**file, *request, sink);
    if (dumped)
      invocation.print(fmt::format("\n{} problem{}{}\n", dumped->problems,
                                   dumped->problems == 1 ? "" : "s",
                                   dumped->complete ? "" : "; not everything is shown"));
  } else {
    JsonSink sink(invocation);
    invocation.print(fmt::format("{{\n\"file\": {},\n\"length\": {}",
                                 Json(name).dump(-1, ' ', false, Json::error_handler_t::replace),
                                 (*file)->size()));
    dumped = co_await image::dump(**file, *request, sink);
    sink.close();
    if (dumped)
      invocation.print(fmt::format(",\n\"problems\": {},\n\"complete\": {}", dumped->problems,
                                   dumped->complete));
    invocation.print("\n}\n");
  }
  if (!dumped)
    co_return invocation.fail(fmt::format("Could not open '{}': {}", name, dumped.error().desc));
  co_return 0;
}

}  // namespace sim::tool
