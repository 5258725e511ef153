// qemu-io's commands that move data.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "sim/qcow2/format.h"
#include "sim/tool/io_session.h"
#include "sim/tool/io_text.h"

namespace sim::tool {

namespace {

using qcow2::format::kSector;

// QEMU: BDRV_REQUEST_MAX_BYTES.
constexpr std::uint64_t kLengthMax = std::numeric_limits<std::int32_t>::max() / kSector * kSector;
// Long requests are taken in pieces that end at multiples of this.
constexpr std::uint64_t kPieceBytes = 64_MiB;
constexpr std::byte kPattern{0xcd};

struct Request {
  std::uint64_t offset = 0, length = 0;
};

std::uint64_t piece_length(std::uint64_t at, std::uint64_t end) {
  return std::min(end, align_down(at, kPieceBytes) + kPieceBytes) - at;
}

std::optional<std::byte> pattern_of(const IoSession& session, const std::string& text) {
  unsigned value = 0;
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const char* const end = text.data() + text.size();
  const auto [rest, status] =
      std::from_chars(text.data() + (hex ? 2 : 0), end, value, hex ? 16 : 10);
  if (status == std::errc{} && rest == end && value <= 0xff) return static_cast<std::byte>(value);
  session.refuse(fmt::format("{} is not a valid pattern byte", text));
  return std::nullopt;
}

// Offset, and one length or the sum of several.
std::optional<Request> request_of(const IoSession& session, const IoArguments& arguments) {
  Request request;
  const auto offset = io_number(session, arguments.operands.front());
  if (!offset) return std::nullopt;
  request.offset = *offset;
  for (std::size_t i = 1; i < arguments.operands.size(); ++i) {
    const auto length = io_number(session, arguments.operands[i]);
    if (!length) return std::nullopt;
    request.length += *length;
    if (*length <= kLengthMax && request.length <= kLengthMax) continue;
    const bool zeroes = arguments.has('n') && arguments.has('z');
    if (zeroes) continue;
    session.refuse(fmt::format("length cannot exceed {}{}, given {}", kLengthMax,
                               arguments.usage.starts_with("write ") ? " without -n" : "",
                               arguments.operands[i]));
    return std::nullopt;
  }
  return request;
}

// VM state and compressed data come in whole sectors.
bool are_sectors(const IoSession& session, const Request& request) {
  if (request.offset % kSector != 0)
    session.refuse(fmt::format("{} is not a sector-aligned value for 'offset'", request.offset));
  else if (request.length % kSector != 0)
    session.refuse(fmt::format("{} is not a sector-aligned value for 'count'", request.length));
  else
    return true;
  return false;
}

void report(const IoSession& session, const IoArguments& arguments, std::string_view verb,
            const Request& request) {
  if (arguments.has('q')) return;
  session.print(arguments.has('C') ? io_report_fields(request.length)
                                   : io_report(verb, request.offset, request.length));
}

// What of a read is to be of one pattern.
struct Expected {
  std::byte pattern{};
  Request range;
};

struct Seen {
  bool matches = true;
  std::string dump;
};

Task<Result<Seen>> read_pieces(IoSession& session, const Request& request,
                               const std::optional<Expected>& expected, bool dump, bool vm_state) {
  Seen seen;
  image::Layer& layer = session.layer();
  const std::uint64_t end = request.offset + request.length;
  if (!vm_state && (end > layer.size() || request.offset > layer.size())) co_return os_error(EIO);
  std::vector<std::byte> buffer(std::min(request.length, kPieceBytes));
  for (std::uint64_t at = request.offset; at < end;) {
    const MutableBytes piece = MutableBytes(buffer).first(piece_length(at, end));
    if (vm_state && layer.qcow2() == nullptr) co_return os_error(ENOTSUP);
    auto got = vm_state ? layer.qcow2()->read_vm_state(at, piece) : layer.read(at, piece);
    CO_TRY_OK(co_await std::move(got));
    if (expected) {
      const std::uint64_t first = std::max(at, expected->range.offset);
      const std::uint64_t last =
          std::min(at + piece.size(), expected->range.offset + expected->range.length);
      if (first < last)
        seen.matches &=
            std::ranges::all_of(piece.subspan(first - at, last - first),
                                [&](std::byte byte) { return byte == expected->pattern; });
    }
    if (dump) session.print(io_dump(at, piece));
    at += piece.size();
  }
  co_return seen;
}

// Reads, compares and says what came of it; `failing` is what a failure is called.
Task<IoOutcome> read_and_say(IoSession& session, const IoArguments& arguments,
                             const Request& request, const std::optional<Expected>& expected,
                             std::string_view failing) {
  const auto seen = co_await read_pieces(session, request, expected, false, arguments.has('b'));
  if (!seen) co_return session.refuse(fmt::format("{} failed: {}", failing, seen.error().desc));
  if (!seen->matches)
    session.refuse(fmt::format("Pattern verification failed at offset {}, {} bytes",
                               expected->range.offset, expected->range.length));
  if (!arguments.has('q')) {
    if (arguments.has('v'))
      (void)co_await read_pieces(session, request, std::nullopt, true, arguments.has('b'));
    report(session, arguments, "read", request);
  }
  co_return seen->matches ? IoOutcome::done : IoOutcome::failed;
}

// What -P, -s and -l of `read` ask for; false: it is said what is wrong with them.
bool expected_of(const IoSession& session, const IoArguments& arguments, const Request& request,
                 std::optional<Expected>& expected) {
  if (!arguments.has('P')) {
    if (!arguments.has('s') && !arguments.has('l')) return true;
    session.refuse(arguments.usage);
    return false;
  }
  const auto pattern = pattern_of(session, arguments.options.at('P'));
  if (!pattern) return false;
  std::uint64_t skip = 0;
  if (arguments.has('s')) {
    const auto number = io_number(session, arguments.options.at('s'));
    if (!number) return false;
    skip = *number;
  }
  std::uint64_t length = request.length - std::min(skip, request.length);
  if (arguments.has('l')) {
    const auto number = io_number(session, arguments.options.at('l'));
    if (!number) return false;
    length = *number;
  }
  if (skip > request.length || length > request.length - skip) {
    session.refuse("pattern verification range exceeds end of read data");
    return false;
  }
  expected = {.pattern = *pattern, .range = {request.offset + skip, length}};
  return true;
}

Task<IoOutcome> read_vector(IoSession& session, const IoArguments& arguments) {
  const auto request = request_of(session, arguments);
  if (!request) co_return IoOutcome::failed;
  std::optional<Expected> expected;
  if (!expected_of(session, arguments, *request, expected)) co_return IoOutcome::failed;
  co_return co_await read_and_say(session, arguments, *request, expected, "readv");
}

// What is written: one byte over and over, or a file's bytes.
using Fill = std::vector<std::byte>;

Task<std::optional<Fill>> fill_of(IoSession& session, const IoArguments& arguments) {
  if (arguments.has('P')) {
    const auto pattern = pattern_of(session, arguments.options.at('P'));
    if (!pattern) co_return std::nullopt;
    co_return Fill{*pattern};
  }
  if (!arguments.has('s')) co_return Fill{kPattern};
  const std::string& name = arguments.options.at('s');
  const auto refuse = [&](const std::string& why) {
    session.invocation().surroundings().err(fmt::format("{}: {}\n", name, why));
    return std::nullopt;
  };
  Invocation& invocation = session.invocation();
  const auto file = invocation.files().open(image::absolute(invocation.context(), name),
                                            storage::Access::read_only);
  if (!file) co_return refuse(file.error().desc);
  Fill fill(std::min((*file)->size(), kPieceBytes));
  if (auto got = co_await (*file)->read(0, fill); !got) co_return refuse(got.error().desc);
  if (fill.empty()) co_return refuse("file is empty");
  co_return fill;
}

Task<Result<>> write_compressed(image::Layer& layer, std::uint64_t at, Bytes from) {
  const std::uint64_t cluster = layer.cluster_size();
  if (cluster == 0) co_return os_error(ENOTSUP);
  if (at % cluster != 0) co_return os_error(EINVAL);
  while (!from.empty()) {
    const Bytes part = from.first(std::min<std::uint64_t>(cluster, from.size()));
    if (part.size() < cluster && at + part.size() != layer.size()) co_return os_error(EINVAL);
    CO_TRY_OK(co_await layer.write_compressed(at, part));
    at += part.size();
    from = from.subspan(part.size());
  }
  co_return ok();
}

Task<Result<>> write_piece(image::Layer& layer, const IoArguments& arguments, std::uint64_t at,
                           Bytes piece) {
  if (arguments.has('c')) co_return co_await write_compressed(layer, at, piece);
  if (!arguments.has('b')) co_return co_await layer.write(at, piece);
  if (layer.qcow2() == nullptr) co_return os_error(ENOTSUP);
  co_return co_await layer.qcow2()->write_vm_state(at, piece);
}

Task<Result<>> write_pieces(IoSession& session, const IoArguments& arguments,
                            const Request& request, const Fill& fill) {
  image::Layer& layer = session.layer();
  const std::uint64_t end = request.offset + request.length;
  if (!arguments.has('b') && (end > layer.size() || request.offset > layer.size()))
    co_return os_error(EIO);
  if (arguments.has('z') && request.length > 0)
    CO_TRY_OK(co_await layer.write_zeroes(request.offset, request.length, arguments.has('u')));
  if (!arguments.has('z')) {
    std::vector<std::byte> buffer(std::min(request.length, kPieceBytes), fill.front());
    for (std::uint64_t at = request.offset; at < end;) {
      const MutableBytes piece = MutableBytes(buffer).first(piece_length(at, end));
      if (fill.size() > 1)
        for (std::uint64_t i = 0; i < piece.size(); ++i)
          piece[i] = fill[(at - request.offset + i) % fill.size()];
      CO_TRY_OK(co_await write_piece(layer, arguments, at, piece));
      at += piece.size();
    }
  }
  if (arguments.has('f')) CO_TRY_OK(co_await layer.flush());
  co_return ok();
}

// Options that do not go together; empty: they do.
std::string_view conflict(const IoArguments& arguments) {
  if (arguments.has('b') && arguments.has('z'))
    return "-b and -z cannot be specified at the same time";
  if (arguments.has('f') && arguments.has('b'))
    return "-b and -f cannot be specified at the same time";
  if (arguments.has('n') && !arguments.has('z')) return "-n requires -z to be specified";
  if (arguments.has('u') && !arguments.has('z')) return "-u requires -z to be specified";
  if (int{arguments.has('z')} + int{arguments.has('P')} + int{arguments.has('s')} > 1)
    return arguments.usage.starts_with("aio_")
               ? "-z and -P cannot be specified at the same time"
               : "Only one of -z, -P, and -s can be specified at the same time";
  return {};
}

Task<IoOutcome> write_and_say(IoSession& session, const IoArguments& arguments,
                              std::string_view failing) {
  if (const auto text = conflict(arguments); !text.empty()) co_return session.refuse(text);
  const auto request = request_of(session, arguments);
  if (!request) co_return IoOutcome::failed;
  const bool sectors = arguments.has('b') || arguments.has('c');
  if (sectors && !are_sectors(session, *request)) co_return IoOutcome::failed;
  const auto fill = co_await fill_of(session, arguments);
  if (!fill || !session.may_change()) co_return IoOutcome::failed;
  if (auto done = co_await write_pieces(session, arguments, *request, *fill); !done)
    co_return session.refuse(fmt::format("{} failed: {}", failing, done.error().desc));
  report(session, arguments, "wrote", *request);
  co_return IoOutcome::done;
}

}  // namespace

Task<IoOutcome> io_read(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() != 2) co_return session.refuse(arguments.usage);
  const auto request = request_of(session, arguments);
  if (!request) co_return IoOutcome::failed;
  std::optional<Expected> expected;
  if (!expected_of(session, arguments, *request, expected)) co_return IoOutcome::failed;
  if (arguments.has('b') && !are_sectors(session, *request)) co_return IoOutcome::failed;
  co_return co_await read_and_say(session, arguments, *request, expected, "read");
}

Task<IoOutcome> io_readv(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() < 2) co_return session.refuse(arguments.usage);
  co_return co_await read_vector(session, arguments);
}

// Done at once; what becomes of it later is, as in qemu-io, no failure of the command.
Task<IoOutcome> io_aio_read(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() < 2) co_return session.refuse(arguments.usage);
  if (arguments.has('i')) {
    session.print("injecting invalid read request\n");
    co_return IoOutcome::done;
  }
  (void)co_await read_vector(session, arguments);
  co_return IoOutcome::done;
}

Task<IoOutcome> io_write(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() != 2) co_return session.refuse(arguments.usage);
  co_return co_await write_and_say(session, arguments, "write");
}

Task<IoOutcome> io_writev(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() < 2) co_return session.refuse(arguments.usage);
  co_return co_await write_and_say(session, arguments, "writev");
}

Task<IoOutcome> io_aio_write(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() < 2) co_return session.refuse(arguments.usage);
  if (arguments.has('i')) {
    session.print("injecting invalid write request\n");
    co_return IoOutcome::done;
  }
  if (const auto text = conflict(arguments); !text.empty()) co_return session.refuse(text);
  (void)co_await write_and_say(session, arguments, "aio_write");
  co_return IoOutcome::done;
}

Task<IoOutcome> io_discard(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.size() != 2) co_return session.refuse(arguments.usage);
  const auto request = request_of(session, arguments);
  if (!request || !session.may_change()) co_return IoOutcome::failed;
  image::Layer& layer = session.layer();
  const auto discard = [&]() -> Task<Result<>> {
    if (request->offset > layer.size() || request->length > layer.size() - request->offset)
      co_return os_error(EIO);
    if (request->length == 0 || session.ignores_discards()) co_return ok();
    co_return co_await layer.discard(request->offset, request->length);
  };
  if (auto done = co_await discard(); !done)
    co_return session.refuse(fmt::format("discard failed: {}", done.error().desc));
  report(session, arguments, "discard", *request);
  co_return IoOutcome::done;
}

}  // namespace sim::tool
