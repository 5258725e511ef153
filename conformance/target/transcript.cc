#include "conformance/target/transcript.h"

#include <utility>

namespace conformance {
namespace {

std::string compact(const Json& content) {
  return content.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The arguments of an API call: the elements of an array, or the one value.
std::string arguments(const Json& content) {
  if (content.is_null()) return {};
  if (!content.is_array()) return compact(content);
  std::string text;
  for (const Json& element : content) text += (text.empty() ? "" : ", ") + compact(element);
  return text;
}

std::string named(std::string_view mark, const TranscriptEntry& entry) {
  std::string line(mark);
  if (!entry.name.empty()) line += " " + entry.name;
  if (!entry.content.is_null()) line += " " + compact(entry.content);
  return line;
}

std::string note_of(const TargetFailure& failure) {
  switch (failure.kind) {
    case TargetFailure::Kind::crash:
      return "crash: " + failure.detail;
    case TargetFailure::Kind::hang:
      return "hang: " + failure.detail;
    case TargetFailure::Kind::harness:
      break;
  }
  return "harness: " + failure.detail;
}

}  // namespace

std::string to_line(const TranscriptEntry& entry) {
  switch (entry.kind) {
    case TranscriptEntry::Kind::command:
      return named("->", entry);
    case TranscriptEntry::Kind::reply:
      return named("<-", {.name = {}, .content = entry.content});
    case TranscriptEntry::Kind::event:
      return named("!!", entry);
    case TranscriptEntry::Kind::call:
      return "## " + entry.name + "(" + arguments(entry.content) + ")";
    case TranscriptEntry::Kind::result:
      return named("==", entry);
    case TranscriptEntry::Kind::note:
      break;
  }
  std::string line = "..";
  if (!entry.name.empty()) line += " " + entry.name;
  if (entry.content.is_string()) return line + " " + entry.content.get<std::string>();
  return entry.content.is_null() ? line : line + " " + compact(entry.content);
}

Json without_secrets(std::string_view command, const Json& arguments) {
  constexpr const char* kHidden = "(hidden)";
  Json shown = arguments;
  if (!shown.is_object()) return shown;
  if (command == "object-add") {
    if (shown.contains("data")) shown["data"] = kHidden;
    // Up to 5.2 the properties may stand in an object of their own.
    if (shown.contains("props")) shown["props"] = without_secrets(command, shown["props"]);
  }
  if (const auto line = shown.find("command-line");
      command == "human-monitor-command" && line != shown.end() && line->is_string() &&
      line->get_ref<const std::string&>().starts_with("object_add"))
    *line = std::string("object_add ") + kHidden;
  return shown;
}

Outcome<Json> RecordingHypervisor::execute(std::string_view command, const Json& arguments) {
  transcript_.push_back({.kind = TranscriptEntry::Kind::command,
                         .name = std::string(command),
                         .content = without_secrets(command, arguments)});
  auto reply = next_.execute(command, arguments);
  if (reply)
    transcript_.push_back(
        {.kind = TranscriptEntry::Kind::reply, .name = std::string(command), .content = *reply});
  else
    transcript_.push_back(
        {.kind = TranscriptEntry::Kind::note, .name = {}, .content = note_of(reply.error())});
  return reply;
}

Outcome<std::optional<Event>> RecordingHypervisor::poll_event() {
  return recorded(next_.poll_event());
}

Outcome<std::optional<Event>> RecordingHypervisor::next_event(std::chrono::milliseconds limit) {
  return recorded(next_.next_event(limit));
}

Outcome<std::optional<Event>> RecordingHypervisor::recorded(Outcome<std::optional<Event>> event) {
  if (!event)
    transcript_.push_back(
        {.kind = TranscriptEntry::Kind::note, .name = {}, .content = note_of(event.error())});
  else if (*event)
    transcript_.push_back(
        {.kind = TranscriptEntry::Kind::event, .name = (*event)->name, .content = (*event)->data});
  return event;
}

}  // namespace conformance
