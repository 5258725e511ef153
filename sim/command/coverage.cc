#include "sim/command/coverage.h"

#include <fmt/format.h>

#include <set>

#include "sim/command/context.h"

namespace sim::command {

namespace {

std::string cell(const qmp::Message* message) {
  if (message == nullptr) return "–";
  if (message->features.deprecated) return "deprecated";
  if (message->features.unstable) return "unstable";
  return "yes";
}

const qmp::Message* find(const qmp::Schema& schema, const std::string& name, bool is_event) {
  return is_event ? schema.event(name) : schema.command(name);
}

std::set<std::string> declared(bool of_events) {
  std::set<std::string> names;
  for (const Profile& profile : kProfiles)
    for (const qmp::Message& message : qmp::Schema::of(profile).messages())
      if (message.is_event == of_events) names.emplace(message.name);
  return names;
}

std::set<std::string> undeclared(bool of_events) {
  std::set<std::string> names;
  for (const Profile& profile : kProfiles)
    for (const std::string_view name : qmp::Schema::of(profile).names(of_events))
      names.emplace(name);
  for (const std::string& name : declared(of_events)) names.erase(name);
  return names;
}

std::string table(bool of_events, const std::set<std::string>& handled) {
  std::string head = of_events ? "| event |" : "| command |", rule = "|---|", rows;
  for (const Profile& profile : kProfiles) {
    head += fmt::format(" {} |", profile.name);
    rule += "---|";
  }
  if (!of_events) {
    head += " here |";
    rule += "---|";
  }
  for (const std::string& name : declared(of_events)) {
    rows += fmt::format("| `{}` |", name);
    for (const Profile& profile : kProfiles)
      rows += fmt::format(" {} |", cell(find(qmp::Schema::of(profile), name, of_events)));
    if (!of_events) rows += handled.contains(name) ? " yes |" : " refused |";
    rows += '\n';
  }
  return head + '\n' + rule + '\n' + rows;
}

std::string listed(const std::set<std::string>& names) {
  std::string text, line;
  for (const std::string& name : names) {
    const std::string word = fmt::format("`{}`", name);
    if (line.size() + word.size() > 98) {
      text += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return text + line + "\n";
}

}  // namespace

std::string qmp_coverage() {
  std::set<std::string> handled;
  for (const Command* command : all_commands()) handled.emplace(command->name);
  return fmt::format(
      "# QMP coverage\n\n"
      "Written by `understudy list --qmp`, from `sim/qmp/declarations`; a test compares.\n\n"
      "Every command and event of these tables is declared: its arguments are checked as the\n"
      "release checks them, and `query-qmp-schema` tells of it what the release tells. A command\n"
      "that is refused answers `understudy: command 'X' is not in this version`.\n\n"
      "## Commands\n\n{}\n## Events\n\n{}\n"
      "## Not declared\n\nCommands that are refused by name:\n\n{}\nEvents that never come:\n\n{}",
      table(false, handled), table(true, handled), listed(undeclared(false)),
      listed(undeclared(true)));
}

}  // namespace sim::command
