// One run of one command: its arguments, taken apart as getopt_long does for qemu-img, and what it
// says.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/image/open.h"
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

  // Takes the arguments apart by `options` and the common ones.  Options and names may be mixed,
  // short ones joined ("-qf" "raw"), long ones abbreviated if that is unambiguous, "--" ends them.
  // An error is said (one line and where to find help) and the exit code returned.
  std::optional<int> parse(const std::vector<Option>& options);

  // Of what was parsed: an option is known by its long name, or by its letter if it has none.
  bool has(std::string_view option) const;
  std::string value(std::string_view option, std::string fallback = {}) const;  // the last one
  std::vector<std::string> values(std::string_view option) const;               // all, in order
  const std::vector<std::string>& names() const { return names_; }  // what is not an option

  bool quiet() const { return has("q"); }
  image::Context& context() { return context_; }
  const Surroundings& surroundings() const { return surroundings_; }
  const std::string& command() const { return command_; }
  World& world() { return context_.world; }
  storage::FileSystem& files() { return context_.files; }

  void print(std::string_view text) const { surroundings_.out(text); }
  void complain(std::string_view text) const;  // "understudy image: TEXT\n" on stderr
  // Says why, and gives `code`.
  int fail(std::string_view text, int code = 1) const;

  // The request that -f, -U, --image-opts and a name make.
  image::OpenRequest request(const std::string& name, bool writable) const;

 private:
  const Surroundings& surroundings_;
  image::Context context_;
  std::string command_;
  std::vector<std::string> arguments_;
  std::vector<std::pair<std::string, std::string>> given_;
  std::vector<std::string> names_;
};

// "a=b,c=d,,e" as QEMU's option strings are read: commas doubled to be meant, a key without a value
// is "on"; dotted keys make nested objects, which --image-opts wants.
Result<std::vector<std::pair<std::string, std::string>>> parse_key_values(std::string_view text);
Result<Json> parse_image_opts(std::string_view text);

}  // namespace sim::tool
