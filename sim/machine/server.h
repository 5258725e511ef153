// Serves one machine to the clients of its monitors, by wall clock or by its own.

#pragma once

#include <cstdio>
#include <deque>
#include <memory>

#include "sim/machine/command_line.h"
#include "sim/machine/machine.h"
#include "sim/machine/port.h"
#include "sim/qmp/monitor.h"

namespace sim::machine {

class Server {
 public:
  // Lines for standard error, without the program's name.
  using Warn = void (*)(const std::string& line);

  // `machine` has negotiated already, and outlives the server.  `signals` is a signalfd of those
  // that end it.
  Server(Machine& machine, const CommandLine& line, int signals, Warn warn);
  ~Server();

  // Opens every chardev.  The error is QEMU's text, with the option.
  Result<> open();
  // Until `quit` or a signal; all that was said is sent then.
  void run();

 private:
  struct Channel {
    std::string name;
    Port port;
    std::unique_ptr<qmp::Monitor> monitor;  // null: nobody listens
  };

  std::optional<Json> execute(Json request);
  void go_on();
  void tell_events();
  void print_output();
  bool serve_requests();
  void exchange(Channel& channel);
  void send(Channel& channel);
  void send_all();
  void wait(bool has_work);
  int timeout() const;
  void end_by_signal();
  void end();
  Duration elapsed() const;
  void trace(const Channel& channel, char direction, std::string_view bytes);

  Machine& machine_;
  const CommandLine& line_;
  const int signals_;
  const Warn warn_;
  const std::uint64_t begun_ns_;  // CLOCK_MONOTONIC
  std::deque<Channel> channels_;
  int quiet_steps_ = 0;  // in a row, in which nothing happened
  std::FILE* trace_ = nullptr;
};

}  // namespace sim::machine
