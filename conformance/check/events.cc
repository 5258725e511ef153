#include "conformance/check/events.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace conformance::check {

static constexpr std::string_view kDrainPairs = "drain-pairs";
static constexpr std::string_view kReplyPlace = "reply-place";
static constexpr std::string_view kGeneratedNames = "generated-names";
static constexpr std::string_view kProgress = "progress";
static constexpr std::string_view kQueryDetails = "query-details";
static constexpr std::string_view kGuestTimes = "guest-io-times";
static constexpr std::string_view kStatisticsTimes = "statistics-times";
static constexpr std::string_view kThreadIds = "thread-ids";
static constexpr std::string_view kDirectory = "directory";
static constexpr std::string_view kMachineState = "machine-state";

const std::vector<Normalisation>& normalisations() {
  static const std::vector<Normalisation> all = {
      {kDirectory, "each run has a private directory; its path is written ${dir}"},
      {kDrainPairs,
       "a drain makes a job go standby/ready or paused/running; how often is not promised"},
      {kReplyPlace, "a reply may come before or after events of the job that it starts"},
      {kGeneratedNames, "names like #block123 are drawn by the process"},
      {kProgress, "len and offset of a running job depend on when one looks"},
      {kQueryDetails,
       "query-block and query-named-block-nodes: host allocation, file name texts and node order"},
      {kStatisticsTimes,
       "query-blockstats: how long requests took and nobody asked; counts and bytes are compared"},
      {kThreadIds, "query-cpus-fast: the host's number of a thread"},
      {kGuestTimes, "qemu-io prints how long a request took"},
      {kSnapshotTimes, "internal snapshots have the host's date, and how long the guest had run"},
      {kMachineState, "how many bytes a machine's state takes is the machine's matter"},
  };
  return all;
}

bool is_on(std::string_view normalisation, const Switched& off) {
  return std::ranges::find(off, normalisation) == off.end();
}

// --- domain events and job statuses --------------------------------------------------------------

static std::string to_text(const BlockJobEvent& event) {
  return fmt::format("{} {} {} (disk {})", event.type, event.status,
                     event.path.substr(event.path.rfind('/') + 1), event.disk);
}

std::vector<Divergence> compare_events(const std::vector<BlockJobEvent>& actual,
                                       const std::vector<model::ExpectedEvent>& expected) {
  std::map<std::string, std::vector<std::string>> wanted, seen;  // by disk
  for (const model::ExpectedEvent& event : expected)
    wanted[event.disk].push_back(to_text({event.disk, event.path, event.type, event.status}));
  for (const BlockJobEvent& event : actual) {
    seen[event.disk].push_back(to_text(event));
    wanted[event.disk];
  }
  for (const auto& [disk, texts] : wanted) {
    const std::vector<std::string>& found = seen[disk];
    for (std::size_t i = 0; i < std::max(found.size(), texts.size()); ++i) {
      const std::string expected_text = i < texts.size() ? texts[i] : "no more events";
      const std::string actual_text = i < found.size() ? found[i] : "no more events";
      if (expected_text != actual_text)
        return {{DivergenceClass::events, "a disk's block job events come in this order",
                 expected_text, actual_text, fmt::format("event {} of {}", i + 1, disk)}};
    }
  }
  return {};
}

// Which of a job's statuses are not part of a drain, by index.
static std::vector<std::size_t> outside_drains(const std::vector<std::string>& statuses) {
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    const bool drained = i + 1 < statuses.size() && !kept.empty() &&
                         ((statuses[i] == "standby" && statuses[i + 1] == "ready") ||
                          (statuses[i] == "paused" && statuses[i + 1] == "running")) &&
                         statuses[kept.back()] == statuses[i + 1];
    if (drained)
      ++i;
    else
      kept.push_back(i);
  }
  return kept;
}

static bool is_status_of(const TranscriptEntry& entry, const std::string& job) {
  return entry.kind == TranscriptEntry::Kind::event && entry.name == "JOB_STATUS_CHANGE" &&
         entry.content.value("id", "") == job;
}

std::vector<std::string> statuses_of(const Transcript& transcript, const std::string& job,
                                     const Switched& off) {
  std::vector<std::string> statuses;
  for (const TranscriptEntry& entry : transcript)
    if (is_status_of(entry, job)) statuses.push_back(entry.content.value("status", ""));
  if (!is_on(kDrainPairs, off)) return statuses;
  std::vector<std::string> kept;
  for (const std::size_t i : outside_drains(statuses)) kept.push_back(statuses[i]);
  return kept;
}

std::vector<Divergence> compare_statuses(const std::vector<std::string>& actual,
                                         const std::vector<std::string>& expected,
                                         const std::string& job) {
  if (actual == expected) return {};
  return {{DivergenceClass::events, "the job goes through these statuses",
           fmt::format("{}", fmt::join(expected, " ")), fmt::format("{}", fmt::join(actual, " ")),
           "job " + job}};
}

// --- transcripts ---------------------------------------------------------------------------------

namespace {

struct Exchange {
  std::string command;
  Json arguments;
  Json reply;
};

// What HMP's savevm calls a snapshot that it is given no name for.
constexpr std::string_view kNameOfDate = "vm-00000000000000";

// With zeroes for the digits wherever it is like `pattern`, whose zeroes stand for digits.
std::string with_zeroes(std::string text, std::string_view pattern) {
  const auto alike = [](char c, char in_pattern) {
    return in_pattern == '0' ? c >= '0' && c <= '9' : c == in_pattern;
  };
  for (std::size_t at = 0; at + pattern.size() <= text.size(); ++at)
    if (std::ranges::equal(std::string_view(text).substr(at, pattern.size()), pattern, alike))
      text.replace(at, pattern.size(), pattern);
  return text;
}

class Normaliser {
 public:
  Normaliser(const Switched& off, std::string directory, Detail detail)
      : off_(off), directory_(std::move(directory)), detail_(detail) {}

  std::string text(std::string text) const {
    if (is_on(kGeneratedNames, off_))
      for (std::size_t at = text.find("#block"); at != std::string::npos;
           at = text.find("#block", at + 7)) {
        std::size_t end = at + 6;
        while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
        text.replace(at, end - at, "#blockN");
      }
    if (is_on(kDirectory, off_) && !directory_.empty())
      for (std::size_t at = text.find(directory_); at != std::string::npos;
           at = text.find(directory_, at + 6))
        text.replace(at, directory_.size(), "${dir}");
    return text;
  }

  Json value(const Json& json) const {
    if (json.is_string()) return text(json.get<std::string>());
    if (!json.is_object() && !json.is_array()) return json;
    Json result = json.is_object() ? Json::object() : Json::array();
    if (json.is_array()) {
      for (const Json& element : json) result.push_back(value(element));
      return result;
    }
    const bool is_snapshot = json.contains("vm-state-size");
    const bool settled = detail_ == Detail::all && is_settled(json);
    for (const auto& [key, element] : json.items()) {
      if (is_snapshot && is_snapshots_own(key, element)) continue;
      if (is_snapshot && key == "name" && is_on(kSnapshotTimes, off_)) {
        result[key] = with_zeroes(value(element).dump(), kNameOfDate);
        continue;
      }
      if (settled && key != "busy") {
        result[key] = value(element);
        continue;
      }
      const bool progress = key == "len" || key == "offset" || key == "current-progress" ||
                            key == "total-progress" || key == "busy";
      if (progress && is_on(kProgress, off_)) continue;
      if (is_host_time(key) && is_on(kStatisticsTimes, off_)) {
        result[key] = "measured";
        continue;
      }
      result[key] = value(element);
    }
    return result;
  }

  Json reply(const std::string& command, const Json& given) const {
    const bool threads = command == "query-cpus-fast" && is_on(kThreadIds, off_);
    const Json json = threads ? without_threads(given) : given;
    if (detail_ == Detail::all && json.contains("return") && json["return"].is_array())
      return sorted(command, value(json["return"]));
    if (command == "query-migrate" && is_on(kMachineState, off_) && json.contains("return"))
      return {{"status", json["return"].value("status", "")}};
    const bool details = command == "query-block" || command == "query-named-block-nodes";
    if (details && is_on(kQueryDetails, off_)) return json.contains("error") ? json : Json("ok");
    if (command == "human-monitor-command" && is_snapshot_list(json))
      return snapshot_list(json["return"].get<std::string>());
    if (command == "human-monitor-command" && is_on(kGuestTimes, off_))
      return detail_ == Detail::all ? whole_text(json) : first_line(json);
    return value(json);
  }

 private:
  // Members of query-blockstats that depend on the host's speed; a histogram's bins do, too.
  static bool is_host_time(const std::string& key) {
    return key.ends_with("_total_time_ns") || key == "idle_time_ns" || key == "bins";
  }
  static Json without_threads(Json reply) {
    if (reply.contains("return") && reply["return"].is_array())
      for (Json& cpu : reply["return"]) cpu.erase("thread-id");
    return reply;
  }

  // What a job that rests or has ended tells of its progress is the same every time.
  static bool is_settled(const Json& json) {
    constexpr std::array<std::string_view, 5> kSettled = {"ready", "standby", "waiting", "pending",
                                                          "concluded"};
    if (json.contains("error")) return false;
    if (json.contains("status") && json["status"].is_string())
      return std::ranges::find(kSettled, json["status"].get<std::string>()) != kSettled.end();
    return json.contains("offset") && json.contains("len") && json["offset"] == json["len"];
  }

  // Lists without the host's doing, in an order that does not depend on drawn names.
  static Json sorted(const std::string& command, Json list) {
    const bool nodes = command == "query-named-block-nodes";
    for (Json& entry : list) {
      if (!entry.is_object()) continue;
      for (const char* host : {"actual-size", "iops_size"}) entry.erase(host);
      if (entry.contains("image")) without_host(entry["image"]);
      if (entry.contains("inserted") && entry["inserted"].contains("image"))
        without_host(entry["inserted"]["image"]);
      if (nodes || command == "query-block") entry.erase("stats");
    }
    auto entries = list.get<std::vector<Json>>();
    std::ranges::sort(entries);
    return entries;
  }
  static void without_host(Json& image) {
    for (const char* host : {"actual-size", "backing-image", "children", "format-specific"})
      image.erase(host);
  }

  // Of QAPI's SnapshotInfo.
  bool is_snapshots_own(std::string_view key, const Json& element) const {
    constexpr std::array<std::string_view, 4> kTimes = {"date-sec", "date-nsec", "vm-clock-sec",
                                                        "vm-clock-nsec"};
    if (std::ranges::find(kTimes, key) != kTimes.end()) return is_on(kSnapshotTimes, off_);
    return key == "vm-state-size" && element != 0 && is_on(kMachineState, off_);
  }

  static bool is_snapshot_list(const Json& json) {
    return json.contains("return") && json["return"].is_string() &&
           json["return"].get_ref<const std::string&>().starts_with("List of snapshots");
  }

  // HMP's `info snapshots`.
  Json snapshot_list(std::string text) const {
    if (is_on(kSnapshotTimes, off_)) {
      text = with_zeroes(std::move(text), "0000-00-00 00:00:00");
      text = with_zeroes(std::move(text), "00:00:00.000");
      text = with_zeroes(std::move(text), kNameOfDate);
    }
    if (!is_on(kMachineState, off_)) return text;
    for (const char* unit : {" KiB ", " MiB ", " B "})
      for (std::size_t at = text.find(unit); at != std::string::npos; at = text.find(unit, at + 1))
        at = without_size(text, at);
    return text;
  }
  // Takes the number before `at` and its column's blanks out, unless it is 0: gives where it was.
  static std::size_t without_size(std::string& text, std::size_t at) {
    std::size_t first = at;
    while (first > 0 &&
           (text[first - 1] == '.' || (text[first - 1] >= '0' && text[first - 1] <= '9')))
      --first;
    const bool is_zero = text.substr(first, at - first) == "0";
    const std::size_t unit = text.find(' ', at + 1);
    if (is_zero || first == at || unit == std::string::npos) return at;
    while (first > 0 && text[first - 1] == ' ') --first;
    text.replace(first, unit - first, " SIZE");
    return first + 5;
  }

  // What the monitor answered, which is not what qemu-io printed: that is told in its first line.
  Json whole_text(const Json& json) const {
    if (!json.contains("return") || !json["return"].is_string()) return value(json);
    const std::string text = without_formatting(json["return"].get<std::string>());
    if (!text.contains("\r\n")) return text.substr(0, text.find('\n'));
    std::string kept;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find("\r\n", at), text.size());
      const std::string line = text.substr(at, end - at);
      if (!line.starts_with("disk size: ") || !is_on(kQueryDetails, off_)) kept += line + "\n";
      at = end + 2;
    }
    return this->text(kept);
  }

  static Json first_line(const Json& json) {
    if (!json.contains("return") || !json["return"].is_string()) return json;
    const std::string text = without_formatting(json["return"].get<std::string>());
    return text.substr(0, text.find('\n'));
  }

  // QEMU tells of each image that it makes, on its standard output.
  static std::string without_formatting(std::string text) {
    while (text.starts_with("Formatting '") && text.contains('\n'))
      text.erase(0, text.find('\n') + 1);
    return text;
  }
  const Switched& off_;
  std::string directory_;
  Detail detail_;
};

std::vector<Exchange> exchanges_of(const Transcript& transcript) {
  std::vector<Exchange> exchanges;
  for (const TranscriptEntry& entry : transcript) {
    if (entry.kind == TranscriptEntry::Kind::command)
      exchanges.push_back({entry.name, entry.content, {}});
    else if (entry.kind == TranscriptEntry::Kind::reply && !exchanges.empty())
      exchanges.back().reply = entry.content;
  }
  return exchanges;
}

std::optional<Divergence> compare(const Exchange& left, const Normaliser& left_normaliser,
                                  const Exchange& right, const Normaliser& right_normaliser,
                                  std::size_t number) {
  const std::string place = fmt::format("command {} ({})", number, left.command);
  if (left.command != right.command ||
      left_normaliser.value(left.arguments) != right_normaliser.value(right.arguments))
    return Divergence{DivergenceClass::error, "both targets are sent the same commands",
                      left.command + " " + left.arguments.dump(),
                      right.command + " " + right.arguments.dump(), place};
  const Json a = left_normaliser.reply(left.command, left.reply);
  const Json b = right_normaliser.reply(right.command, right.reply);
  if (a == b) return std::nullopt;
  const bool both_refuse =
      left.reply.contains("error") && right.reply.contains("error") &&
      left.reply["error"].value("class", "") == right.reply["error"].value("class", "");
  return Divergence{both_refuse ? DivergenceClass::wording : DivergenceClass::error,
                    "both targets answer the same", a.dump(), b.dump(), place};
}

// Events by the job (or device) they are about, in order.
std::map<std::string, std::vector<std::string>> events_of(const Transcript& transcript,
                                                          const Normaliser& normaliser,
                                                          const Switched& off) {
  std::map<std::string, std::vector<std::string>> by_subject;
  std::map<std::string, std::vector<std::string>> statuses;
  for (const TranscriptEntry& entry : transcript) {
    if (entry.kind != TranscriptEntry::Kind::event) continue;
    const std::string subject = entry.content.value("id", entry.content.value("device", ""));
    if (entry.name == "JOB_STATUS_CHANGE") continue;
    by_subject[subject].push_back(entry.name + " " + normaliser.value(entry.content).dump());
  }
  for (const TranscriptEntry& entry : transcript) {
    if (entry.kind != TranscriptEntry::Kind::event || entry.name != "JOB_STATUS_CHANGE") continue;
    const std::string job = entry.content.value("id", "");
    if (statuses.contains(job)) continue;
    statuses[job] = statuses_of(transcript, job, off);
    by_subject["statuses of " + job] = statuses[job];
  }
  return by_subject;
}

// Commands, replies and events in the order in which they came, without drains' statuses.
std::vector<std::string> order_of(const Transcript& transcript, const Switched& off) {
  std::map<std::string, std::vector<std::string>> statuses;  // by job
  std::map<std::string, std::vector<std::size_t>> places;
  std::vector<std::string> order(transcript.size());
  for (std::size_t i = 0; i < transcript.size(); ++i) {
    const TranscriptEntry& entry = transcript[i];
    if (entry.kind == TranscriptEntry::Kind::command) order[i] = "-> " + entry.name;
    if (entry.kind == TranscriptEntry::Kind::reply) order[i] = "<- " + entry.name;
    if (entry.kind != TranscriptEntry::Kind::event) continue;
    const std::string job = entry.content.value("id", entry.content.value("device", ""));
    const std::string status = entry.content.value("status", "");
    order[i] = fmt::format("!! {} {} {}", entry.name, job, status);
    if (!is_status_of(entry, job) || !is_on(kDrainPairs, off)) continue;
    statuses[job].push_back(status);
    places[job].push_back(i);
  }
  for (const auto& [job, all] : statuses) {
    std::vector<std::size_t>& drained = places[job];
    const std::vector<std::size_t> kept = outside_drains(all);
    for (std::size_t i = kept.size(); i-- > 0;)
      drained.erase(drained.begin() + static_cast<std::ptrdiff_t>(kept[i]));
    for (const std::size_t i : drained) order[i].clear();
  }
  std::erase(order, "");
  return order;
}

std::optional<Divergence> compare_order(const Side& left, const Side& right, const Switched& off) {
  std::vector<std::string> a = order_of(left.transcript, off);
  std::vector<std::string> b = order_of(right.transcript, off);
  const auto [mine, others] = std::ranges::mismatch(a, b);
  if (mine == a.end() && others == b.end()) return std::nullopt;
  return Divergence{DivergenceClass::events, "both targets say things in the same order",
                    mine == a.end() ? "nothing more" : *mine,
                    others == b.end() ? "nothing more" : *others,
                    fmt::format("message {}", mine - a.begin() + 1)};
}

}  // namespace

std::vector<Divergence> compare_transcripts(const Side& left, const Side& right,
                                            const Switched& off, Detail detail) {
  const Normaliser left_normaliser(off, left.directory, detail);
  const Normaliser right_normaliser(off, right.directory, detail);
  std::vector<Divergence> found;
  const std::vector<Exchange> a = exchanges_of(left.transcript), b = exchanges_of(right.transcript);
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (auto difference = compare(a[i], left_normaliser, b[i], right_normaliser, i + 1))
      found.push_back(*std::move(difference));
  if (a.size() != b.size())
    found.push_back({DivergenceClass::error, "both targets are sent the same commands",
                     fmt::format("{} commands", a.size()), fmt::format("{} commands", b.size()),
                     "transcript"});
  const auto left_events = events_of(left.transcript, left_normaliser, off);
  auto right_events = events_of(right.transcript, right_normaliser, off);
  for (const auto& [subject, events] : left_events) {
    const std::vector<std::string> others = right_events[subject];
    right_events.erase(subject);
    if (events != others)
      found.push_back({DivergenceClass::events, "both targets report the same",
                       fmt::format("{}", fmt::join(events, "; ")),
                       fmt::format("{}", fmt::join(others, "; ")), subject});
  }
  for (const auto& [subject, events] : right_events)
    found.push_back({DivergenceClass::events, "both targets report the same", "nothing",
                     fmt::format("{}", fmt::join(events, "; ")), subject});
  if (!is_on(kReplyPlace, off))
    if (auto difference = compare_order(left, right, off)) found.push_back(*std::move(difference));
  return found;
}

}  // namespace conformance::check
