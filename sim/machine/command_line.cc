#include "sim/machine/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sim/machine/about.h"
#include "sim/qmp/json_reader.h"
#include "sim/qmp/keyval.h"

namespace sim::machine {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || end != text.data() + text.size() || failure != std::errc())
    return std::nullopt;
  return number;
}

class Reader {
 public:
  explicit Reader(CommandLine& line) : line_(line) {}

  Result<> read(std::span<const std::string> arguments);
  Result<> read_settings(const std::string& text);
  Result<> find_settings(std::span<const std::string> arguments);

 private:
  struct Option {
    std::string_view name;
    bool takes_argument;
    Result<> (Reader::*read)(const std::string& argument);  // null: accepted
  };
  static std::span<const Option> options();
  static const Option* find(const std::string& argument);

  const Profile& profile() const { return *line_.settings.profile; }
  const qmp::Schema& schema() const { return qmp::Schema::of(profile()); }

  // "-device x", as errors begin.
  std::string place_of(const std::string& argument) const { return place_ + " " + argument; }
  OptionList list(const std::string& argument, std::string_view implied);
  std::string bad_value(std::string_view name, std::string_view value) const {
    if (!profile().bad_value_names_parameter) return fmt::format("Invalid parameter '{}'", value);
    return fmt::format("Parameter '{}' does not accept value '{}'", name, value);
  }

  Result<> about(const std::string&);
  Result<> accel(const std::string& argument);
  Result<> blockdev(const std::string& argument);
  Result<> chardev(const std::string& argument);
  Result<> compat(const std::string& argument);
  Result<> daemonize(const std::string&);
  Result<> device(const std::string& argument);
  Result<> display(const std::string& argument);
  Result<> drive(const std::string& argument);
  Result<> machine(const std::string& argument);
  Result<> memory(const std::string& argument);
  Result<> mon(const std::string& argument);
  Result<> monitor(const std::string& argument);
  Result<> name(const std::string& argument);
  Result<> object(const std::string& argument);
  Result<> pidfile(const std::string& argument);
  Result<> positional(const std::string& argument);
  Result<> qmp(const std::string& argument);
  Result<> qmp_pretty(const std::string& argument);
  Result<> paused(const std::string&);
  Result<> understudy(const std::string&) { return ok(); }  // find_settings() has read it
  Result<> processors(const std::string& argument);
  Result<> unsupported(const std::string&);
  Result<> uuid(const std::string& argument);
  Result<> version(const std::string&);

  Result<> add_chardev(const OptionList& options, std::string_view backend, std::string id);
  Result<> add_monitor(const std::string& argument, bool pretty);

  CommandLine& line_;
  std::string place_;          // the option as it was written
  std::string first_machine_;  // the first -machine, with its argument
};

std::span<const Reader::Option> Reader::options() {
  static constexpr std::array kOptions = {
      Option{"-about", false, &Reader::about},
      Option{"M", true, &Reader::machine},
      Option{"S", false, &Reader::paused},
      Option{"accel", true, &Reader::accel},
      Option{"blockdev", true, &Reader::blockdev},
      Option{"chardev", true, &Reader::chardev},
      Option{"compat", true, &Reader::compat},
      Option{"cpu", true, nullptr},
      Option{"daemonize", false, &Reader::daemonize},
      Option{"device", true, &Reader::device},
      Option{"display", true, &Reader::display},
      Option{"drive", true, &Reader::drive},
      Option{"enable-kvm", false, nullptr},
      Option{"incoming", true, &Reader::unsupported},
      Option{"loadvm", true, &Reader::unsupported},
      Option{"m", true, &Reader::memory},
      Option{"machine", true, &Reader::machine},
      Option{"mon", true, &Reader::mon},
      Option{"monitor", true, &Reader::monitor},
      Option{"msg", true, nullptr},
      Option{"name", true, &Reader::name},
      Option{"no-user-config", false, nullptr},
      Option{"nodefaults", false, nullptr},
      Option{"nographic", false, nullptr},
      Option{"object", true, &Reader::object},
      Option{"pidfile", true, &Reader::pidfile},
      Option{"qmp", true, &Reader::qmp},
      Option{"qmp-pretty", true, &Reader::qmp_pretty},
      Option{"qtest", true, &Reader::unsupported},
      Option{"smp", true, &Reader::processors},
      Option{"snapshot", false, &Reader::unsupported},
      Option{"understudy", true, &Reader::understudy},
      Option{"uuid", true, &Reader::uuid},
      Option{"version", false, &Reader::version},
  };
  return kOptions;
}

// One dash or two.
const Reader::Option* Reader::find(const std::string& argument) {
  std::string_view wanted = argument;
  wanted.remove_prefix(1);
  if (wanted != "-about" && wanted.starts_with('-')) wanted.remove_prefix(1);
  const auto found = std::ranges::find(options(), wanted, &Option::name);
  return found == options().end() ? nullptr : &*found;
}

Result<> Reader::read(std::span<const std::string> arguments) {
  for (std::size_t i = 0; i < arguments.size() && line_.answer.empty(); ++i) {
    if (!arguments[i].starts_with('-') || arguments[i] == "-") {
      TRY_OK(positional(arguments[i]));
      continue;
    }
    place_ = arguments[i];
    const Option* option = find(arguments[i]);
    if (option == nullptr || (option->name == "compat" && !profile().has_compat_option))
      return generic(place_ + ": invalid option");
    if (option->takes_argument && ++i == arguments.size())
      return generic(place_ + ": requires an argument");
    const std::string argument = option->takes_argument ? arguments[i] : "";
    if (option->read == nullptr) continue;
    if (auto read = (this->*option->read)(argument); !read) {
      const std::string& text = read.error().desc;
      const std::string place = option->takes_argument ? place_of(argument) : place_;
      // What begins with a line feed is said without the option.
      return generic(text.starts_with('\n') ? text.substr(1) : place + ": " + text);
    }
  }
  return ok();
}

// The settings decide how everything else is read.
Result<> Reader::find_settings(std::span<const std::string> arguments) {
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-understudy" || argument == "--understudy")
      TRY_OK(read_settings(arguments[++i]));
  }
  return ok();
}

Result<> Reader::read_settings(const std::string& text) {
  Settings& settings = line_.settings;
  const auto refuse = [](std::string_view name, std::string_view value, std::string_view known) {
    return generic(
        fmt::format("-understudy: '{}' does not accept '{}', but {}", name, value, known));
  };
  for (const auto& [name, value] : OptionList::read(text, "").options) {
    if (name == "profile") {
      settings.profile = find_profile(value);
      if (settings.profile == nullptr)
        return refuse(name, value, "a release: 5.2, 7.2, 10.0, 11.1");
    } else if (name == "seed") {
      const auto seed = number_of<std::uint64_t>(value);
      if (!seed) return refuse(name, value, "a number");
      settings.seed = *seed;
    } else if (name == "clock") {
      if (value != "wall" && value != "virtual") return refuse(name, value, "wall or virtual");
      settings.virtual_clock = value == "virtual";
    } else if (name == "trace") {
      settings.trace = value;
    } else {
      return generic(fmt::format(
          "-understudy: '{}' is not a setting; there are profile, seed, clock, trace", name));
    }
  }
  return ok();
}

OptionList Reader::list(const std::string& argument, std::string_view implied) {
  OptionList list = OptionList::read(argument, implied);
  if (profile().takes_json_options)
    for (const auto& [written, meant] : list.short_forms)
      line_.warnings.push_back(
          fmt::format("{}: warning: short-form boolean option '{}' deprecated\n"
                      "Please use {} instead",
                      place_of(argument), written, meant));
  return list;
}

Result<> Reader::about(const std::string&) {
  line_.answer = about_text();
  return ok();
}

Result<> Reader::version(const std::string&) {
  const Profile& p = profile();
  line_.answer = fmt::format(
      "QEMU emulator version {}.{}.{} ({})\n"
      "Copyright (c) 2003-{} Fabrice Bellard and the QEMU Project developers\n",
      p.major, p.minor, p.micro, p.package, p.copyright_year);
  return ok();
}

Result<> Reader::paused(const std::string&) {
  line_.starts_paused = true;
  return ok();
}

Result<> Reader::daemonize(const std::string&) {
  line_.daemonizes = true;
  return ok();
}

Result<> Reader::pidfile(const std::string& argument) {
  line_.pidfile = argument;
  return ok();
}

Result<> Reader::unsupported(const std::string&) {
  return generic(fmt::format("\nunderstudy: {} is not in this version", place_));
}

Result<> Reader::machine(const std::string& argument) {
  if (first_machine_.empty()) first_machine_ = place_of(argument);
  const std::string type = OptionList::read(argument, "type").find("type").value_or("pc");
  if (type == "help") {
    line_.answer = "Supported machines are:\nnone\npc\nq35\n";
    return ok();
  }
  const bool known = type == "none" || type == "pc" || type == "q35" ||
                     type.starts_with("pc-i440fx-") || type.starts_with("pc-q35-");
  line_.has_cpu_limit = type == "none";
  if (known) return ok();
  std::string text = "\n";
  if (profile().refusal_names_machine_option) text += first_machine_ + ": ";
  text += "unsupported machine type";
  if (profile().refusal_names_machine) text += fmt::format(": \"{}\"", type);
  return generic(text + "\nUse -machine help to list supported machines");
}

Result<> Reader::accel(const std::string& argument) {
  const std::string type = OptionList::read(argument, "accel").find("accel").value_or("");
  if (type == "help")
    line_.answer = "Accelerators supported in QEMU binary:\ntcg\nkvm\n";
  else if (type != "tcg" && type != "kvm" && type != "qtest" && type != "xen")
    return generic("invalid accelerator " + type);
  return ok();
}

Result<> Reader::display(const std::string& argument) {
  if (argument == "none") return ok();
  if (argument == "help") {
    line_.answer = "Available display backend types:\nnone\n";
    return ok();
  }
  const std::string type = argument.substr(0, argument.find_first_of(",:"));
  static constexpr std::array<std::string_view, 9> kOthers = {
      "gtk", "sdl", "egl-headless", "curses", "cocoa", "spice-app", "dbus", "vnc", "default"};
  if (std::ranges::find(kOthers, type) != kOthers.end())
    return generic(fmt::format("\nunderstudy: {} is not in this version", place_of(argument)));
  return generic(bad_value("type", type));
}

Result<> Reader::memory(const std::string& argument) {
  const OptionList options = list(argument, "size");
  TRY_OK(options.check_names({"size", "slots", "maxmem"}));
  const std::string size = options.find("size").value_or("128");
  std::string_view digits = size;
  static constexpr std::string_view kUnits = "bBkKmMgGtTpPeE";
  if (!digits.empty() && kUnits.contains(digits.back())) digits.remove_suffix(1);
  if (number_of<std::uint64_t>(digits)) return ok();
  return generic(
      "Parameter 'size' expects a non-negative number below 2^64\n"
      "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
      "and exabytes, respectively.");
}

Result<> Reader::processors(const std::string& argument) {
  const std::string cpus = OptionList::read(argument, "cpus").find("cpus").value_or("1");
  const auto number = number_of<std::uint64_t>(cpus);
  if (!number && profile().takes_json_options)
    return generic("\nParameter 'smp.cpus' expects integer");
  if (!number) return generic("Parameter 'cpus' expects a number");
  line_.cpus = *number;
  return ok();
}

Result<> Reader::name(const std::string& argument) {
  return list(argument, "guest").check_names({"guest", "process", "debug-threads"});
}

Result<> Reader::uuid(const std::string& argument) {
  static constexpr std::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  const bool well_formed =
      argument.size() == kForm.size() && std::ranges::equal(argument, kForm, [](char c, char form) {
        const char lower = static_cast<char>(c | 0x20);
        return form == '-' ? c == '-' : (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'f');
      });
  return well_formed ? ok() : generic("failed to parse UUID string: wrong format");
}

// QAPI's CompatPolicy.
Result<> Reader::compat(const std::string& argument) {
  TRY(const Json policy, read_keyval(argument, ""));
  qmp::Compat& compat = line_.compat;
  for (const auto& [name, value] : policy.items()) {
    const auto is = [&value](const char* known) { return value == known; };
    const bool input = name == "deprecated-input" || name == "unstable-input";
    if (!input && name != "deprecated-output" && name != "unstable-output")
      return generic(fmt::format("Parameter '{}' is unexpected", name));
    if (!is("accept") && !(input ? is("reject") || is("crash") : is("hide")))
      return generic(fmt::format("Parameter '{}' does not accept value '{}'", name,
                                 value.is_string() ? value.get<std::string>() : value.dump()));
    const bool deprecated = name.starts_with("deprecated");
    using Input = qmp::Compat::Input;
    using Output = qmp::Compat::Output;
    if (input)
      (deprecated ? compat.deprecated_input : compat.unstable_input) =
          is("accept") ? Input::accept : (is("reject") ? Input::reject : Input::crash);
    else
      (deprecated ? compat.deprecated_output : compat.unstable_output) =
          is("accept") ? Output::accept : Output::hide;
  }
  return ok();
}

// --- what is made ---

Result<> Reader::blockdev(const std::string& argument) {
  Json options;
  if (argument.starts_with('{')) {
    TRY(options, qmp::parse_json(argument, profile()));
  } else {
    TRY(Json strings, read_keyval(argument, "driver"));
    TRY(options, qmp::typed_keyval(schema(), "BlockdevOptions", std::move(strings)));
  }
  TRY_OK(schema().check_type("BlockdevOptions", options));
  line_.blockdevs.push_back({place_of(argument), std::move(options)});
  return ok();
}

Result<> Reader::object(const std::string& argument) {
  Json options;
  if (argument.starts_with('{') && profile().takes_json_options) {
    TRY(options, qmp::parse_json(argument, profile()));
  } else {
    const OptionList list = OptionList::read(argument, "qom-type");
    TRY_OK(list.check_id());
    if (!list.find("id") && !profile().takes_json_options)
      return generic("Parameter 'id' is missing");
    options = list.to_json();
    // A group's limits, "x-iops-total=10", are numbers.
    for (auto& [name, value] : options.items()) {
      if (options.value("qom-type", "") != "throttle-group" || !name.starts_with("x-")) continue;
      const auto number = number_of<std::int64_t>(value.get_ref<const std::string&>());
      if (!number) return generic(fmt::format("Parameter '{}' expects an int64 value", name));
      value = *number;
    }
  }
  line_.objects.push_back({place_of(argument), std::move(options)});
  return ok();
}

Result<> Reader::device(const std::string& argument) {
  if (argument == "help" || argument == "?") {
    line_.answer =
        "Storage devices:\nname \"scsi-cd\", bus SCSI\nname \"scsi-hd\", bus SCSI\n"
        "name \"virtio-blk-pci\", bus PCI, alias \"virtio-blk\"\n"
        "name \"virtio-scsi-pci\", bus PCI, alias \"virtio-scsi\"\n";
    return ok();
  }
  Json options;
  if (argument.starts_with('{') && profile().takes_json_options) {
    TRY(options, qmp::parse_json(argument, profile()));
  } else {
    const OptionList read = list(argument, "driver");
    TRY_OK(read.check_id());
    options = read.to_json();
  }
  line_.devices.push_back({place_of(argument), std::move(options), argument.starts_with('{')});
  return ok();
}

// What can be said about the options alone; add_drive() looks at the rest.
Result<> check_drive(const OptionList& options) {
  TRY_OK(options.check_id());
  for (const char* name : {"index", "bus", "unit"})
    if (const auto number = options.find(name); number && !number_of<std::uint64_t>(*number))
      return generic(fmt::format("Parameter '{}' expects a number", name));
  for (const char* name : {"read-only", "readonly", "snapshot", "copy-on-read"})
    TRY_OK(options.flag(name, false));
  static constexpr std::array<std::string_view, 5> kCaches = {"none", "writeback", "writethrough",
                                                              "directsync", "unsafe"};
  if (const auto cache = options.find("cache");
      cache && *cache != "off" && std::ranges::find(kCaches, *cache) == kCaches.end())
    return generic("invalid cache option");
  if (const auto media = options.find("media"); media && *media != "disk" && *media != "cdrom")
    return generic(fmt::format("'{}' invalid media", *media));
  static constexpr std::array<std::string_view, 9> kBuses = {
      "none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen"};
  if (const auto bus = options.find("if"); bus && std::ranges::find(kBuses, *bus) == kBuses.end())
    return generic(fmt::format("unsupported bus type '{}'", *bus));
  if (options.find("index") && (options.find("bus") || options.find("unit")))
    return generic("index cannot be used with bus and unit");
  if (options.find("driver") && options.find("format"))
    return generic("Cannot specify both 'driver' and 'format'");
  return ok();
}

Result<> Reader::drive(const std::string& argument) {
  const OptionList options = list(argument, "");
  TRY_OK(check_drive(options));
  const auto id = options.find("id");
  for (const Creation& other : line_.drives)
    if (id && other.arguments.value("id", "") == *id)
      return generic(fmt::format("Duplicate ID '{}' for drive", *id));
  line_.drives.push_back({place_of(argument), options.to_json()});
  return ok();
}

Result<> Reader::positional(const std::string& argument) {
  line_.drives.push_back(
      {argument, {{"file", argument}, {"if", "ide"}, {"index", "0"}, {"media", "disk"}}});
  return ok();
}

// --- monitors ---

Result<> Reader::chardev(const std::string& argument) {
  const OptionList options = list(argument, "backend");
  TRY_OK(options.check_id());
  const auto backend = options.find("backend");
  const auto id = options.find("id");
  if (backend == "help") {
    line_.answer = "Available chardev backend types: \n  null\n  socket\n  stdio\n";
    return ok();
  }
  if (!id) return generic("chardev: no id specified");
  if (!backend) return generic(fmt::format("chardev: \"{}\" missing backend", *id));
  for (const Chardev& other : line_.chardevs)
    if (other.id == *id) return generic(fmt::format("Duplicate ID '{}' for chardev", *id));
  TRY_OK(add_chardev(options, *backend, *id));
  line_.chardevs.back().option = place_of(argument);
  return ok();
}

Result<> Reader::add_chardev(const OptionList& options, std::string_view backend, std::string id) {
  static constexpr std::array<std::string_view, 13> kOthers = {
      "udp", "msmouse", "vc",      "ringbuf",  "file",    "pipe",    "pty",
      "mux", "serial",  "vdagent", "parallel", "braille", "spicevmc"};
  Chardev made;
  made.id = std::move(id);
  if (backend == "null" || backend == "stdio") {
    TRY_OK(options.check_names({"backend", "id", "signal", "mux", "logfile", "logappend"}));
    made.kind = backend == "null" ? Chardev::Kind::null : Chardev::Kind::stdio;
  } else if (backend == "socket") {
    TRY_OK(options.check_names({"backend", "id", "path", "fd", "server", "wait", "host", "port",
                                "reconnect", "reconnect-ms", "mux", "logfile", "logappend",
                                "abstract", "tight"}));
    TRY(const bool server, options.flag("server", false));
    TRY(made.waits, options.flag("wait", server));
    made.waits = made.waits && server;
    made.kind = server ? Chardev::Kind::listening : Chardev::Kind::connecting;
    if (options.find("host") || options.find("reconnect") || options.find("reconnect-ms"))
      return generic("\nunderstudy: TCP and reconnecting are not in this version");
    if (const auto path = options.find("path")) {
      made.path = *path;
    } else {
      const auto descriptor = options.find("fd");
      if (!descriptor && profile().socket_asks_for_place)
        return generic("Exactly one of 'path', 'fd' or 'host' required");
      const auto number = number_of<int>(descriptor.value_or(""));
      if (!number) return generic("Unable to parse FD number " + descriptor.value_or(""));
      made.descriptor = *number;
      if (!server) made.kind = Chardev::Kind::descriptor;
    }
  } else if (std::ranges::find(kOthers, backend) != kOthers.end()) {
    return generic(fmt::format("\nunderstudy: chardev '{}' is not in this version", backend));
  } else {
    return generic(fmt::format("'{}' is not a valid char driver name", backend));
  }
  line_.chardevs.push_back(std::move(made));
  return ok();
}

// "unix:PATH,server=on,wait=off", "stdio", "null", "chardev:ID".
Result<> Reader::add_monitor(const std::string& argument, bool pretty) {
  const std::string id = fmt::format("compat_monitor{}", line_.monitors.size());
  if (argument.starts_with("chardev:")) {
    line_.monitors.push_back({place_of(argument), argument.substr(8), pretty});
    return ok();
  }
  if (argument.starts_with("unix:")) {
    OptionList options = list(argument.substr(5), "path");
    options.options.emplace_back("backend", "socket");
    if (options.options.front().second.empty()) options.options.front().first = "backend";
    TRY_OK(add_chardev(options, "socket", id));
  } else if (argument == "stdio" || argument == "null") {
    TRY_OK(add_chardev({}, argument, id));
  } else if (argument.starts_with("tcp:") || argument == "pty" || argument.starts_with("fd:")) {
    return generic(fmt::format("\nunderstudy: {} is not in this version", place_of(argument)));
  } else {
    line_.warnings.push_back(
        fmt::format("{}: '{}' is not a valid char driver", place_of(argument), argument));
    return generic("parse error: " + argument);
  }
  line_.chardevs.back().option = place_of(argument);
  line_.monitors.push_back({place_of(argument), id, pretty});
  return ok();
}

Result<> Reader::qmp(const std::string& argument) { return add_monitor(argument, false); }
Result<> Reader::qmp_pretty(const std::string& argument) { return add_monitor(argument, true); }

// HMP.
Result<> Reader::monitor(const std::string& argument) {
  if (argument == "none" || argument == "null") return ok();
  return generic(fmt::format("\nunderstudy: a monitor for people ({}) is not in this version",
                             place_of(argument)));
}

Result<> Reader::mon(const std::string& argument) {
  const OptionList options = list(argument, "chardev");
  if (profile().mon_is_deprecated)
    line_.warnings.push_back(place_of(argument) +
                             ": warning: '-mon' is deprecated, use '-object' with 'monitor-hmp' "
                             "or 'monitor-qmp' types instead");
  TRY_OK(options.check_names({"chardev", "mode", "pretty"}));
  const std::string mode = options.find("mode").value_or("readline");
  if (mode != "control" && mode != "readline") {
    return generic(bad_value("mode", mode));
  }
  const auto chardev = options.find("chardev");
  if (!chardev) return generic("Parameter 'chardev' is missing");
  TRY(const bool pretty, options.flag("pretty", false));
  line_.monitors.push_back({place_of(argument), *chardev, pretty, mode == "readline"});
  return ok();
}

// What depends on options that may come later.
Result<> check_whole(const CommandLine& line) {
  if (line.has_cpu_limit && line.cpus > 1)
    return generic(fmt::format("Invalid SMP CPUs {}. The max CPUs supported by machine 'none' is 1",
                               line.cpus));
  for (const MonitorOption& monitor : line.monitors) {
    const auto count = [&](const auto& in, auto member) {
      return std::ranges::count(in, monitor.chardev, member);
    };
    if (count(line.chardevs, &Chardev::id) == 0)
      return generic(fmt::format("{}: chardev \"{}\" not found", monitor.option, monitor.chardev));
    if (count(line.monitors, &MonitorOption::chardev) > 1)
      return generic(fmt::format("{}: Device '{}' is in use", monitor.option, monitor.chardev));
    if (monitor.for_people)
      return generic(fmt::format("understudy: a monitor for people ({}) is not in this version",
                                 monitor.option));
  }
  const auto is_stdio = [](const Chardev& chardev) { return chardev.kind == Chardev::Kind::stdio; };
  if (line.daemonizes && std::ranges::any_of(line.chardevs, is_stdio))
    return generic("cannot use stdio with -daemonize");
  return ok();
}

}  // namespace

Result<> read_command_line(CommandLine& line, std::span<const std::string> arguments,
                           const std::string& environment) {
  Reader reader(line);
  TRY_OK(reader.read_settings(environment));
  TRY_OK(reader.find_settings(arguments));
  TRY_OK(reader.read(arguments));
  return line.answer.empty() ? check_whole(line) : ok();
}

}  // namespace sim::machine
