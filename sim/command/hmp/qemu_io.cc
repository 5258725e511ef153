#include "sim/command/hmp/qemu_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include "sim/base/scratch.h"
#include "sim/base/size.h"
#include "sim/base/text.h"
#include "sim/block/debugger.h"

namespace sim::command::hmp {

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false, quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
      inside = true;
    } else if (c == ' ' && !quoted) {
      if (inside) words.push_back(std::move(word));
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside) words.push_back(std::move(word));
  return words;
}

namespace {

struct Verb {
  std::string name;
  std::optional<std::uint8_t> pattern;
  bool zero = false, unmap = false, quiet = false;
  std::vector<std::string> operands;
};

// What is printed for an option that the verb does not have, and for too many operands.
std::string usage_of(std::string_view verb) {
  if (verb == "read")
    return "read [-abCqv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a "
           "specified offset\n";
  if (verb == "write")
    return "write [-bcCfnquz] [-P pattern | -s source_file] off len -- writes a number of bytes at "
           "a specified offset\n";
  return "discard [-Cq] off len -- discards a number of bytes at a specified offset\n";
}

// Letters behind one dash; the text that is printed when there is one that cannot be done.
std::expected<void, std::string> read_letters(Verb& verb, std::string_view letters) {
  for (const char letter : letters) {
    const bool writes = verb.name == "write" || verb.name == "aio_write";
    if (letter == 'z' && writes)
      verb.zero = true;
    else if (letter == 'u' && writes)
      verb.unmap = true;
    else if (letter == 'q')
      verb.quiet = true;
    else if (std::string_view("abcCfinpsvlP").contains(letter))
      return std::unexpected(
          fmt::format("understudy: qemu-io's option -{} is not in this version\n", letter));
    else
      return std::unexpected(usage_of(verb.name));
  }
  return {};
}

// The text that is printed when the line cannot be understood, or the verb.
std::expected<Verb, std::string> read_verb(const std::vector<std::string>& words) {
  Verb verb;
  verb.name = words.front();
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-P" && i + 1 < words.size()) {
      const std::string& text = words[++i];
      unsigned value = 0;
      const bool hexadecimal = text.starts_with("0x");
      const char* begin = text.data() + (hexadecimal ? 2 : 0);
      const auto [end, status] =
          std::from_chars(begin, text.data() + text.size(), value, hexadecimal ? 16 : 10);
      if (status != std::errc{} || end != text.data() + text.size() || value > 255)
        return std::unexpected(fmt::format("{} is not a valid pattern byte\n", text));
      verb.pattern = static_cast<std::uint8_t>(value);
    } else if (word == "-P") {
      // as if it were not there: too few operands are what is wrong
    } else if (word.size() > 1 && word.front() == '-') {
      if (auto read = read_letters(verb, std::string_view(word).substr(1)); !read)
        return std::unexpected(std::move(read).error());
    } else {
      verb.operands.push_back(word);
    }
  }
  return verb;
}

std::string human_size(std::uint64_t bytes) {
  if (bytes != 0 && bytes % 1_MiB == 0) return fmt::format("{} MiB", bytes / 1_MiB);
  if (bytes != 0 && bytes % 1_KiB == 0) return fmt::format("{} KiB", bytes / 1_KiB);
  return fmt::format("{} bytes", bytes);
}

// Virtual time does not pass during a request: the rate says so.
std::string report(std::string_view done, std::uint64_t offset, std::uint64_t length) {
  return fmt::format("{} {}/{} bytes at offset {}\n{}, 1 ops; 00.00 sec (inf)\n", done, length,
                     length, offset, human_size(length));
}

constexpr std::uint64_t kLengthMax = 2'147'483'136;  // bytes

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

std::expected<Range, std::string> read_range(const Verb& verb) {
  if (verb.operands.size() < 2)
    return std::unexpected(
        fmt::format("bad argument count {} to {}, expected at least 2 arguments\n",
                    verb.operands.size(), verb.name));
  if (verb.operands.size() > 2) return std::unexpected(usage_of(verb.name));
  Range range;
  for (const auto& [text, into] :
       {std::pair{&verb.operands[0], &range.offset}, std::pair{&verb.operands[1], &range.length}}) {
    const auto size = parse_size(*text);
    if (!size)
      return std::unexpected(fmt::format(
          "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {}\n", *text));
    *into = *size;
  }
  if (range.length > kLengthMax)
    return std::unexpected(fmt::format("length cannot exceed {}{}, given {}\n", kLengthMax,
                                       verb.name == "write" ? " without -n" : "",
                                       verb.operands[1]));
  return range;
}

bool all_equal(Bytes bytes, std::byte value) {
  if (bytes.empty()) return true;
  return bytes.front() == value &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

Task<std::string> run_read(block::Backend& backend, Verb verb, Range range) {
  Scratch buffer(range.length);
  // What QEMU's buffer holds before: it shows where a read fills less than all of it.
  const MutableBytes fill = buffer;
  std::memset(fill.data(), 0xab, fill.size());
  if (const Result<> done = co_await backend.read(range.offset, buffer); !done)
    co_return fmt::format("read failed: {}\n", done.error().desc);
  std::string text;
  if (verb.pattern) {
    if (!all_equal(buffer, std::byte{*verb.pattern}))
      text = fmt::format("Pattern verification failed at offset {}, {} bytes\n", range.offset,
                         range.length);
  }
  if (!verb.quiet) text += report("read", range.offset, range.length);
  co_return text;
}

Task<std::string> run_write(block::Backend& backend, Verb verb, Range range) {
  Result<> done = ok();
  if (verb.zero) {
    done = co_await backend.write_zeroes(range.offset, range.length, {.unmap = verb.unmap});
  } else {
    const std::vector<std::byte> buffer(range.length, std::byte{verb.pattern.value_or(0xcd)});
    done = co_await backend.write(range.offset, buffer);
  }
  if (!done) co_return fmt::format("write failed: {}\n", done.error().desc);
  co_return verb.quiet ? std::string() : report("wrote", range.offset, range.length);
}

Task<std::string> run_discard(block::Backend& backend, Verb verb, Range range) {
  if (const Result<> done = co_await backend.discard(range.offset, range.length); !done)
    co_return fmt::format("discard failed: {}\n", done.error().desc);
  co_return verb.quiet ? std::string() : report("discard", range.offset, range.length);
}

// How much of a range, as far as the node goes, it has itself, zero clusters included; what is
// below it does not count.
Task<std::string> run_alloc(block::Backend& backend, Range range) {
  const block::NodePtr node = backend.node();
  if (!node) co_return std::string();
  const std::uint64_t end =
      std::max(range.offset, std::min(range.offset + range.length, node->size()));
  std::uint64_t allocated = 0;
  for (std::uint64_t at = range.offset; at < end;) {
    const auto status = co_await node->status(at, end - at);
    if (!status) co_return fmt::format("is_allocated failed: {}\n", status.error().desc);
    if (status->allocated) allocated += status->length;
    at += status->length;
  }
  co_return fmt::format("{}/{} bytes allocated at offset {}\n", allocated, end - range.offset,
                        human_size(range.offset));
}

// The first node from here down that has a debugger; null: none (QEMU: bdrv_find_debug_node).
block::Debugger* debugger_beneath(block::Node& node) {
  for (block::Node* at = &node; at != nullptr; at = at->is_filter() ? at->filtered() : at->file())
    if (at->debugger() != nullptr) return at->debugger();
  return nullptr;
}

// What is printed for a verb about breakpoints; nothing if it has worked, or waits for ever.
Task<std::string> run_breakpoint(block::Backend& backend, Verb verb) {
  const std::size_t wanted = verb.name == "break" ? 2 : 1;
  const std::vector<std::string>& words = verb.operands;
  if (words.size() != wanted) co_return std::string();  // its standard error says why
  block::Debugger* const debugger = backend.node() ? debugger_beneath(*backend.node()) : nullptr;
  Result<> done = os_error(ENOTSUP);
  if (verb.name == "wait_break") {
    WaitQueue never(backend.world().scheduler);
    if (debugger == nullptr) co_await never.wait();
    co_await debugger->wait_held(words[0]);
    co_return std::string();
  }
  if (debugger != nullptr)
    done = verb.name == "break"    ? debugger->set_breakpoint(words[0], words[1])
           : verb.name == "resume" ? debugger->resume(words[0])
                                   : debugger->remove_breakpoint(words[0]);
  if (done) co_return std::string();
  const std::string what = verb.name == "break"    ? "Could not set breakpoint"
                           : verb.name == "resume" ? "Could not resume request"
                                                   : "Could not remove breakpoint " + words[0];
  co_return fmt::format("{}: {}\n", what, done.error().desc);
}

// As the guest's requests are: with accounting.  They have ended when the next command comes.
Task<std::string> run_accounted(block::Backend& backend, Verb verb, Range range) {
  const bool is_read = verb.name == "aio_read";
  std::vector<std::byte> buffer(range.length, std::byte{verb.pattern.value_or(0xcd)});
  World& world = backend.world();
  const Instant begin = world.scheduler.now();
  Result<> done = ok();
  if (is_read)
    done = co_await backend.read(range.offset, buffer);
  else if (verb.zero)
    done = co_await backend.write_zeroes(range.offset, range.length, {.unmap = verb.unmap});
  else
    done = co_await backend.write(range.offset, buffer);
  block::Accounting& counted = backend.accounting;
  if (!verb.zero)  // QEMU: zero writes are not counted (measured, 5.2 to 11.1)
    counted.finish(is_read ? counted.read : counted.write, range.length, begin,
                   world.scheduler.now(), static_cast<bool>(done));
  if (!done)
    co_return fmt::format("{} failed: {}\n", is_read ? "readv" : "aio_write", done.error().desc);
  if (verb.quiet) co_return std::string();
  co_return report(is_read ? "read" : "wrote", range.offset, range.length);
}

Task<void> print_accounted(block::Backend& backend, Verb verb, Range range, std::string& output,
                           std::shared_ptr<bool> ended) {
  output += co_await run_accounted(backend, std::move(verb), range);
  *ended = true;
}

// A request that nobody can hold has ended when the next command comes; else it goes on by itself.
Task<void> start_accounted(block::Backend& backend, Verb verb, Range range, std::string& output) {
  const auto ended = std::make_shared<bool>(false);
  Task<void> request = print_accounted(backend, std::move(verb), range, output, ended);
  const block::NodePtr node = backend.node();
  if (!backend.is_drained() && (!node || debugger_beneath(*node) == nullptr)) {
    co_await std::move(request);
    co_return;
  }
  Scheduler& scheduler = backend.world().scheduler;
  scheduler.spawn(std::move(request));
  while (!*ended && scheduler.has_due()) co_await scheduler.yield();
}

Task<void> run_aio_flush(block::Backend& backend) {
  const Instant begin = backend.world().scheduler.now();
  if (const block::NodePtr node = backend.node()) {
    co_await node->graph().drain_all_begin();
    node->graph().drain_all_end();
  }
  backend.accounting.finish(backend.accounting.flush, 0, begin, backend.world().scheduler.now(),
                            true);
}

}  // namespace

Task<Result<>> run_qemu_io(block::Backend& backend, std::string verb_line, std::string& output) {
  const std::vector<std::string> words = split_words(verb_line);
  if (words.empty()) co_return ok();
  const auto verb = read_verb(words);
  if (!verb) {
    output += verb.error();
    co_return ok();
  }
  if (verb->name == "flush") {
    (void)co_await backend.flush();  // QEMU does not say if it fails (measured, 5.2 to 11.1)
    co_return ok();
  }
  if (verb->name == "aio_flush") {
    co_await run_aio_flush(backend);
    co_return ok();
  }
  if (is_listed("break|remove_break|resume|wait_break", verb->name)) {
    output += co_await run_breakpoint(backend, *verb);
    co_return ok();
  }
  const bool is_accounted = verb->name == "aio_read" || verb->name == "aio_write";
  if (!is_accounted && !is_listed("read|write|discard|alloc", verb->name)) {
    output += fmt::format("command \"{}\" not found\n", verb->name);
    co_return ok();
  }
  block::Permission wanted = backend.permission();
  if (!is_listed("read|aio_read|alloc", verb->name) && (wanted.needed & block::kWrite) == 0) {
    wanted.needed |= block::kWrite;
    CO_TRY_OK(backend.set_permission(wanted));
  }
  const auto range = read_range(*verb);
  if (!range)
    output += range.error();
  else if (is_accounted)
    co_await start_accounted(backend, *verb, *range, output);
  else if (verb->name == "alloc")
    output += co_await run_alloc(backend, *range);
  else if (verb->name == "read")
    output += co_await run_read(backend, *verb, *range);
  else if (verb->name == "write")
    output += co_await run_write(backend, *verb, *range);
  else
    output += co_await run_discard(backend, *verb, *range);
  co_return ok();
}

}  // namespace sim::command::hmp
