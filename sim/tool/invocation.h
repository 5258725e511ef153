// One run of one command: its arguments, taken apart as getopt_long does for qemu-img, and what it
// says.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/image/open.h"
#include "sim/image/options.h"
#include "sim/tool/tool.h"

namespace sim::tool {

// An option a command takes: a letter ('\0': none), a long name (empty: none), whether a value
// follows.
struct Option {
  char letter;
  std::string_view name;
  bool takes_value;
};

// The options that every command takes: -q is not among them.
//   --object OBJ  --image-opts  --allow-outside  --probe  --lax  -U/--force-share  --help/-h
// `--object secret,id=ID,data=TEXT | file=PATH [,format=raw|base64]` fills context().secrets.
class Invocation {
 public:
  Invocation(const Surroundings& surroundings, World& world, std::string command,
             std::vector<std::string> arguments);

  // Takes the arguments apart by `options` and the common ones; an option of the command hides a
  // common one of the same letter or name.  Options and names may be mixed, short ones joined
  // ("-qf" "raw"), long ones abbreviated if that is unambiguous, "--" ends them.  An error is said
  // (one line and where to find help) and the exit code returned; so is help, with code 0.
  std::optional<int> parse(const std::vector<Option>& options);

  // Takes the last argument away, before parse(): a size may begin with '-'.
  std::string take_last_argument();

  // Of what was parsed: an option is known by its long name and by its letter.
  bool has(std::string_view option) const;
  std::string value(std::string_view option, std::string fallback = {}) const;  // the last one
  std::vector<std::string> values(std::string_view option) const;               // all, in order
  // All options and their values, in order, by their long names where they have one.
  std::vector<std::pair<std::string, std::string>> in_order() const;
  const std::vector<std::string>& names() const { return names_; }  // what is not an option

  bool quiet() const { return has("q"); }
  image::Context& context() { return context_; }
  const image::Context& context() const { return context_; }
  const Surroundings& surroundings() const { return surroundings_; }
  const std::string& command() const { return command_; }
  World& world() { return context_.world; }
  storage::FileSystem& files() { return context_.files; }

  void print(std::string_view text) const { surroundings_.out(text); }
  void complain(std::string_view text) const;  // "understudy image: TEXT\n" on stderr
  // Says why, and gives `code`.
  int fail(std::string_view text, int code = 1) const;
  // The same for a bad command line: a second line says where to find help.
  int bad_usage(std::string_view text) const;

  // The request that -f, -U, --image-opts and a name make.
  image::OpenRequest request(const std::string& name, bool writable) const;

 private:
  struct Given {
    Option option;
    std::string value;
  };

  // Only some of QEMU's warnings have the program's name in front: those in small letters.
  void warn(std::string_view text) const;
  Result<> take_long(std::string_view argument, const std::vector<Option>& options);
  Result<> take_short(std::string_view argument, const std::vector<Option>& options);
  Result<> take(const Option& option, std::optional<std::string> value, std::string_view argument);
  Result<> add_objects();
  Result<> add_secret(const Json& object);
  void print_help(const std::vector<Option>& options) const;

  const Surroundings& surroundings_;
  image::Context context_;
  std::string command_;
  std::vector<std::string> arguments_;
  std::size_t next_ = 0;  // of arguments_
  std::vector<Given> given_;
  std::vector<std::string> names_;
};

using image::parse_image_opts;
using image::parse_key_values;

// --output.
enum class Output : unsigned char { human, json };
Result<Output> output_format(const Invocation& invocation);

// As QEMU prints JSON for people: four blanks a level; what is not UTF-8 becomes U+FFFD.
std::string json_text(const Json& value);

// A number with a suffix for `what` ("start offset"); errors are qemu-img's, in one line.
Result<std::uint64_t> parse_number(std::string_view what, std::string_view text,
                                   std::uint64_t least = 0, std::uint64_t most = INT64_MAX);

}  // namespace sim::tool
