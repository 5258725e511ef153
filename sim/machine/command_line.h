// QEMU's command line, as far as block devices, monitors and the life of a machine go.
//
// Source: QEMU's qemu-options.hx; texts and what is checked when, measured on 5.2 to 11.1.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/machine/option_text.h"
#include "sim/profile/profile.h"
#include "sim/qmp/compat.h"

namespace sim::machine {

struct Settings {  // -understudy, UNDERSTUDY_OPTIONS
  const Profile* profile = find_profile("7.2");
  std::uint64_t seed = 1;
  bool virtual_clock = false;
  std::string trace;  // a file that every line of every monitor is written to; empty: none
};

struct Chardev {
  enum class Kind : unsigned char { null, stdio, listening, connecting, descriptor };
  std::string option;  // "-chardev socket,id=…", for errors
  std::string id;
  Kind kind = Kind::null;
  std::string path;     // listening, connecting
  int descriptor = -1;  // of a connected or listening socket
  bool waits = false;   // listening: the machine does not start before there is a client
};

struct MonitorOption {
  std::string option;
  std::string chardev;
  bool pretty = false;
  bool for_people = false;  // HMP; refused once its chardev was found
};

// Something to be made, by a QMP command or by add_drive().
struct Creation {
  std::string option;
  Json arguments;
  bool is_json = false;  // written as JSON, not as name=value
};

struct CommandLine {
  Settings settings;
  std::vector<Chardev> chardevs;
  std::vector<MonitorOption> monitors;
  std::vector<Creation> objects, blockdevs, drives, devices;
  qmp::Compat compat;
  bool has_cpu_limit = false;  // -machine none: one processor at most
  std::uint64_t cpus = 1;
  bool starts_paused = false;
  bool daemonizes = false;
  std::string pidfile;

  std::vector<std::string> warnings;  // lines for standard error, without the program's name
  std::string answer;                 // -version, --about, help: to print, and that was all
};

// Fills a new `line`.  `environment` is UNDERSTUDY_OPTIONS; -understudy comes after it.  The error
// is what QEMU prints behind its name (perhaps in several lines) after the warnings; the exit code
// is then 1.
Result<> read_command_line(CommandLine& line, std::span<const std::string> arguments,
                           const std::string& environment);

}  // namespace sim::machine
