// One QMP monitor: what a client sends comes in as bytes, what it is to read goes out as bytes.
//
// A client is greeted and negotiates; until then it is told nothing but that.  Requests run one
// after the other: without out-of-band execution the next is not even read before the last was
// answered; with it, up to eight wait in a queue, and `exec-oob` overtakes them.  What cannot be
// read is answered in its turn.
//
// Source: QEMU's docs/interop/qmp-spec, and measured on 5.2, 7.2, 10.0 and 11.1, which are alike
// but for the texts that have cells in the profile (real-qemu/differential/wire_test.cc).

#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sim/qmp/events.h"
#include "sim/qmp/json_reader.h"
#include "sim/qmp/json_writer.h"
#include "sim/qmp/request.h"
#include "sim/qmp/schema.h"

namespace sim::qmp {

class Monitor {
 public:
  static constexpr std::size_t kMostQueued = 8;

  // Runs {"execute", "arguments"?, "id"?} and gives the reply; nothing if it never comes.  It never
  // gets qmp_capabilities.
  using Execute = std::function<std::optional<Json>(Json request)>;

  struct Options {
    Json greeting;  // whole, {"QMP": …}
    Style style = Style::line;
    Duration since_epoch = {};  // what the machine's time begins at, in timestamps
    Compat compat = {};
  };

  // `profile` must be one of kProfiles.
  Monitor(const Profile& profile, Options options, Execute execute);

  // A client is there: it is greeted, and nothing is left of the one before.
  void connect();
  // It is gone: what it had asked and was not begun is forgotten.
  void disconnect();

  // Takes all that came.  Runs commands only if they are out of band.
  void feed(std::string_view bytes);
  // Runs the request whose turn it is; false if there is none.
  bool step();
  // True if bytes wait to be read: no more should be fed before a step().
  bool is_suspended() const { return connected_ && suspended(); }

  // Tells the client, if it has negotiated.
  void tell(const Event& event);

  // What is to be sent, lines that end in CR LF; it is given once.
  std::string take_output() { return std::exchange(output_, {}); }

 private:
  bool suspended() const { return queue_.size() >= (out_of_band_ ? kMostQueued : 1); }
  void read();
  void accept(Result<Json> input);
  void answer(const Json& input);
  Result<> negotiate(const Request& request);
  Result<> check(const Request& request) const;
  void put(const Json& message);

  const Profile& profile_;
  const Schema& schema_;
  const Options options_;
  const Execute execute_;

  bool connected_ = false, negotiated_ = false, out_of_band_ = false;
  std::optional<JsonReader> reader_;
  std::string input_;  // not read yet
  std::deque<Result<Json>> queue_;
  std::string output_;
};

}  // namespace sim::qmp
