#include "sim/tool/invocation.h"

#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sim::tool {

namespace {

constexpr std::array kCommonOptions = {
    Option{'\0', "object", true},         Option{'\0', "image-opts", false},
    Option{'\0', "allow-outside", false}, Option{'\0', "probe", false},
    Option{'\0', "lax", false},           Option{'U', "force-share", false},
    Option{'h', "help", false},
};

Error usage_error(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

bool is_known_as(const Option& option, std::string_view name) {
  return option.name == name || (name.size() == 1 && option.letter == name.front());
}

}  // namespace

Invocation::Invocation(const Surroundings& surroundings, World& world, std::string command,
                       std::vector<std::string> arguments)
    : surroundings_(surroundings),
      context_{world,
               surroundings.files,
               surroundings.working_directory,
               {},
               {},
               [this](std::string_view text) { warn(text); }},
      command_(std::move(command)),
      arguments_(std::move(arguments)) {}

void Invocation::warn(std::string_view text) const {
  if (text.starts_with("warning: ")) return complain(text);
  surroundings_.err(fmt::format("{}\n", text));
}

void Invocation::complain(std::string_view text) const {
  surroundings_.err(fmt::format("understudy image: {}\n", text));
}

int Invocation::fail(std::string_view text, int code) const {
  complain(replace_all(std::string(text), "\n", "; "));  // a refusal is one line
  return code;
}

int Invocation::bad_usage(std::string_view text) const {
  complain(text);
  surroundings_.err("Try 'understudy image --help' for more information\n");
  return 1;
}

Result<> Invocation::take(const Option& option, std::optional<std::string> value,
                          std::string_view argument) {
  if (option.takes_value && !value) {
    if (next_ == arguments_.size())
      return usage_error(fmt::format("missing argument for option '{}'", argument));
    value = arguments_[next_++];
  }
  given_.push_back({option, std::move(value).value_or(std::string())});
  return ok();
}

// "--name", "--name=value", or the unambiguous beginning of a name.
Result<> Invocation::take_long(std::string_view argument, const std::vector<Option>& options) {
  const std::string_view body = argument.substr(2);
  const std::size_t equals = body.find('=');
  const std::string_view name = body.substr(0, equals);
  std::optional<std::string> value;
  if (equals != std::string_view::npos) value = body.substr(equals + 1);
  const Option* chosen = nullptr;
  bool ambiguous = false;
  for (const Option& option : options) {
    if (option.name.empty() || !option.name.starts_with(name)) continue;
    if (option.name == name) {
      chosen = &option;
      ambiguous = false;
      break;
    }
    ambiguous = chosen != nullptr;
    chosen = &option;
  }
  if (chosen == nullptr || ambiguous || (value && !chosen->takes_value))
    return usage_error(fmt::format("unrecognized option '{}'", argument));
  return take(*chosen, std::move(value), argument);
}

// "-q", "-qf" "raw", "-fraw".
Result<> Invocation::take_short(std::string_view argument, const std::vector<Option>& options) {
  for (std::size_t i = 1; i < argument.size(); ++i) {
    const auto option = std::ranges::find(options, argument[i], &Option::letter);
    if (option == options.end())
      return usage_error(fmt::format("unrecognized option '{}'", argument));
    if (!option->takes_value) {
      TRY_OK(take(*option, std::nullopt, argument));
      continue;
    }
    std::optional<std::string> rest;
    if (i + 1 < argument.size()) rest = argument.substr(i + 1);
    return take(*option, std::move(rest), argument);
  }
  return ok();
}

std::optional<int> Invocation::parse(const std::vector<Option>& options) {
  std::vector<Option> all = options;
  for (Option common : kCommonOptions) {
    for (const Option& own : options) {
      if (own.letter == common.letter) common.letter = '\0';
      if (own.name == common.name) common.name = {};
    }
    if (common.letter != '\0' || !common.name.empty()) all.push_back(common);
  }
  while (next_ < arguments_.size()) {
    const std::string& argument = arguments_[next_++];
    if (argument == "--") {
      names_.insert(names_.end(), arguments_.begin() + static_cast<std::ptrdiff_t>(next_),
                    arguments_.end());
      break;
    }
    if (argument.size() < 2 || argument.front() != '-') {
      names_.push_back(argument);
      continue;
    }
    const auto taken =
        argument.starts_with("--") ? take_long(argument, all) : take_short(argument, all);
    if (!taken) return bad_usage(taken.error().desc);
    if (has("help")) {
      print_help(all);
      return 0;
    }
  }
  if (has("image-opts") && has("f"))
    return fail("--image-opts and --format are mutually exclusive");
  const bool lax = has("lax");
  context_.policy = {
      .allow_outside = lax || has("allow-outside"), .probe = lax || has("probe"), .lax = lax};
  if (const auto added = add_objects(); !added) return fail(added.error().desc);
  return std::nullopt;
}

void Invocation::print_help(const std::vector<Option>& options) const {
  std::string text =
      fmt::format("usage: understudy image {} [OPTION…] FILE…\n\noptions:", command_);
  for (const Option& option : options) {
    text += ' ';
    if (option.letter != '\0') text += fmt::format("-{}", option.letter);
    if (option.letter != '\0' && !option.name.empty()) text += '|';
    if (!option.name.empty()) text += fmt::format("--{}", option.name);
    if (option.takes_value) text += " VALUE";
  }
  print(text + "\nThey mean what they mean to qemu-img.\n");
}

std::string Invocation::take_last_argument() {
  if (arguments_.empty()) return {};
  std::string last = std::move(arguments_.back());
  arguments_.pop_back();
  return last;
}

bool Invocation::has(std::string_view option) const {
  return std::ranges::any_of(given_,
                             [&](const Given& given) { return is_known_as(given.option, option); });
}

std::string Invocation::value(std::string_view option, std::string fallback) const {
  std::vector<std::string> all = values(option);
  return all.empty() ? std::move(fallback) : std::move(all.back());
}

std::vector<std::string> Invocation::values(std::string_view option) const {
  std::vector<std::string> all;
  for (const Given& given : given_)
    if (is_known_as(given.option, option)) all.push_back(given.value);
  return all;
}

std::vector<std::pair<std::string, std::string>> Invocation::in_order() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Given& given : given_)
    all.emplace_back(
        given.option.name.empty() ? std::string(1, given.option.letter) : given.option.name,
        given.value);
  return all;
}

image::OpenRequest Invocation::request(const std::string& name, bool writable) const {
  return {.filename = name,
          .format = value("f"),
          .image_opts = has("image-opts"),
          .writable = writable,
          .force_share = has("force-share")};
}

Result<Output> output_format(const Invocation& invocation) {
  const std::string text = invocation.value("output", "human");
  if (text == "human") return Output::human;
  if (text == "json") return Output::json;
  return usage_error("--output must be used with human or json as argument.");
}

std::string json_text(const Json& value) {
  return value.dump(4, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sim::tool
