// A run of `io`: an open image (or none), and qemu-io's commands on it.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/image/layer.h"
#include "sim/image/open.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

// The words of one command line, taken apart as getopt does.
struct IoArguments {
  std::map<char, std::string> options;
  std::vector<std::string> operands;
  std::string usage;  // of the command: one line
  bool has(char option) const { return options.contains(option); }
};

// What a command came to: `quit` ends the session, `failed` makes its exit code 1.
enum class IoOutcome : unsigned char { done, failed, quit };

class IoSession;
struct IoCommand {
  std::string_view name;
  std::string_view alias;    // empty: none
  int least, most;           // words behind the name; most < 0: any number
  std::string_view options;  // as getopt wants them: "a:b"
  bool needs_image;
  std::string_view synopsis;  // of the arguments
  std::string_view summary;
  Task<IoOutcome> (*run)(IoSession& session, const IoArguments& arguments);
};

class IoSession {
 public:
  IoSession(Invocation& invocation, const image::Context& context)
      : invocation_(invocation), context_(context) {}

  // Opens an image; what is said on failure is said.
  Task<IoOutcome> open(image::OpenRequest request, bool snapshot);
  // Ends its use, writing back what is to be.
  Task<IoOutcome> close();
  // The same image, for other use.
  Task<IoOutcome> reopen(bool writable);

  // One command, as it was typed.
  Task<IoOutcome> execute(const std::string& line);

  bool is_open() const { return layer_ != nullptr; }
  image::Layer& layer() { return *layer_; }
  Invocation& invocation() { return invocation_; }
  void print(std::string_view text) const { invocation_.print(text); }
  // Says so on standard error, as a command's failure.
  IoOutcome complain(std::string_view text) const;
  // Says so on standard output, as qemu-io says what an image answers.
  IoOutcome refuse(std::string_view text) const;
  // False, and said, if the image may not be changed.
  bool may_change() const;
  // -d ignore: the guest's discards do nothing.
  bool ignores_discards() const;

 private:
  Result<IoArguments> take_apart(const IoCommand& command, std::vector<std::string> words) const;
  Task<Result<>> put_overlay();

  Invocation& invocation_;
  const image::Context& context_;
  image::OpenRequest request_;
  bool snapshot_ = false;
  std::unique_ptr<image::Layer> layer_;
};

// A number as qemu-io reads it; what is wrong with it is said.
std::optional<std::uint64_t> io_number(const IoSession& session, const std::string& text);

// A command's line of help.
std::string usage_of(const IoCommand& command);

// The commands, in the order of `help`.
const std::vector<IoCommand>& io_commands();

// io_transfer.cc
Task<IoOutcome> io_read(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_readv(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_aio_read(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_write(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_writev(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_aio_write(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_discard(IoSession& session, const IoArguments& arguments);

// io_inspect.cc
Task<IoOutcome> io_alloc(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_map(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_length(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_info(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_truncate(IoSession& session, const IoArguments& arguments);
Task<IoOutcome> io_flush(IoSession& session, const IoArguments& arguments);

}  // namespace sim::tool
