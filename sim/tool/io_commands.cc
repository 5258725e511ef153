// The table of qemu-io's commands, and those about the session itself.

#include <fmt/format.h>

#include <charconv>

#include "sim/tool/io_session.h"

namespace sim::tool {

namespace {

Task<IoOutcome> io_quit(IoSession&, const IoArguments&) { co_return IoOutcome::quit; }
Task<IoOutcome> io_nothing(IoSession&, const IoArguments&) { co_return IoOutcome::done; }
Task<IoOutcome> io_close(IoSession& session, const IoArguments&) {
  co_return co_await session.close();
}

Task<IoOutcome> io_help(IoSession& session, const IoArguments& arguments) {
  if (arguments.operands.empty()) {
    for (const IoCommand& command : io_commands())
      session.print(fmt::format("{}\n", usage_of(command)));
    session.print("\nUse 'help commandname' for extended help.\n");
    co_return IoOutcome::done;
  }
  for (const IoCommand& command : io_commands())
    if (command.name == arguments.operands.front() || command.alias == arguments.operands.front()) {
      session.print(fmt::format("{}\n", usage_of(command)));
      co_return IoOutcome::done;
    }
  co_return session.refuse(fmt::format("command {} not found", arguments.operands.front()));
}

Task<IoOutcome> io_open(IoSession& session, const IoArguments& arguments) {
  image::OpenRequest request{.writable = !arguments.has('r')};
  if (arguments.has('o')) {
    if (!arguments.operands.empty())
      co_return session.refuse("--image-opts and -o take no file name");
    request.filename = arguments.options.at('o');
    request.image_opts = true;
  } else {
    if (arguments.operands.size() != 1) co_return session.refuse(arguments.usage);
    request.filename = arguments.operands.front();
  }
  co_return co_await session.open(std::move(request), arguments.has('s'));
}

Task<IoOutcome> io_reopen(IoSession& session, const IoArguments& arguments) {
  if (!arguments.operands.empty() || (arguments.has('r') && arguments.has('w')))
    co_return session.refuse(arguments.usage);
  if (arguments.has('r')) co_return co_await session.reopen(false);
  if (arguments.has('w')) co_return co_await session.reopen(true);
  co_return IoOutcome::done;
}

// Nothing else goes on here, so nothing need be waited for.
Task<IoOutcome> io_sleep(IoSession& session, const IoArguments& arguments) {
  const std::string& text = arguments.operands.front();
  std::uint64_t milliseconds = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
  if (status == std::errc{} && rest == text.data() + text.size()) co_return IoOutcome::done;
  co_return session.refuse(fmt::format("{} is not a valid number", text));
}

}  // namespace

const std::vector<IoCommand>& io_commands() {
  static const std::vector<IoCommand> kCommands = {
      {"aio_flush", "", 0, 0, "", false, "", "completes all outstanding aio requests", io_nothing},
      {"aio_read", "", 2, -1, "CP:iqv", true, "[-Ciqv] [-P pattern] off len [len..]",
       "asynchronously reads a number of bytes", io_aio_read},
      {"aio_write", "", 2, -1, "CfiP:quz", true, "[-Cfiquz] [-P pattern] off len [len..]",
       "asynchronously writes a number of bytes", io_aio_write},
      {"alloc", "", 1, 2, "", true, "offset [count]", "checks if offset is allocated in the file",
       io_alloc},
      {"close", "c", 0, 0, "", false, "", "close the current open file", io_close},
      {"discard", "d", 2, -1, "Cq", true, "[-Cq] off len",
       "discards a number of bytes at a specified offset", io_discard},
      {"flush", "f", 0, 0, "", true, "", "flush all in-core file state to disk", io_flush},
      {"help", "?", 0, 1, "", false, "[command]", "help for one or all commands", io_help},
      {"info", "i", 0, 0, "", true, "", "prints information about the current file", io_info},
      {"length", "l", 0, 0, "", true, "", "gets the length of the current file", io_length},
      {"map", "", 0, 0, "", true, "", "prints the allocated areas of a file", io_map},
      {"open", "o", 1, -1, "snCro:kt:d:U", false,
       "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
       io_open},
      {"quit", "q", 0, 0, "", false, "", "exit the program", io_quit},
      {"read", "r", 2, -1, "bCl:pP:qs:v", true, "[-abCqv] [-P pattern [-s off] [-l len]] off len",
       "reads a number of bytes at a specified offset", io_read},
      {"readv", "", 2, -1, "CP:qv", true, "[-Cqv] [-P pattern] off len [len..]",
       "reads a number of bytes at a specified offset", io_readv},
      {"reopen", "", 0, -1, "c:o:rw", true, "[(-r|-w)] [-c cache] [-o options]",
       "reopens an image with new options", io_reopen},
      {"sleep", "", 1, 1, "", false, "", "waits for the given value in milliseconds", io_sleep},
      {"truncate", "t", 1, 3, "m:", true, "[-m prealloc_mode] off",
       "truncates the current file at the given offset", io_truncate},
      {"write", "w", 2, -1, "bcCfnpP:qs:uz", true,
       "[-bcCfnquz] [-P pattern | -s source_file] off len",
       "writes a number of bytes at a specified offset", io_write},
      {"writev", "", 2, -1, "CfP:q", true, "[-Cfq] [-P pattern] off len [len..]",
       "writes a number of bytes at a specified offset", io_writev},
  };
  return kCommands;
}

}  // namespace sim::tool
