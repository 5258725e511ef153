#include "real-qemu/expectations.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "sim/base/json.h"

namespace real_qemu {
namespace {

using sim::Json;

// Where in the file, and what should be there.
using Wrong = std::unexpected<ExpectationError>;

constexpr std::array<std::string_view, 8> kClasses = {"data",    "chain",      "events", "error",
                                                      "wording", "allocation", "hang",   "crash"};
constexpr std::array<std::string_view, 4> kMembers = {"scenario", "class", "because", "source"};
constexpr std::string_view kExample =
    R"(write {"scenario": "ID or PREFIX/*", "class": "CLASS", "because": "…", "source": "…"})";

template <class Names>
std::string listed(const Names& names) {
  std::string text;
  for (const auto name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

// Parses; a member given twice in one object is refused.
std::expected<Json, ExpectationError> parse_strictly(std::string_view text,
                                                     const std::string& file) {
  std::vector<std::set<std::string>> open;  // members seen in each open object
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && twice.empty() &&
        !open.back().insert(value.get<std::string>()).second)
      twice = value.get<std::string>();
    return true;
  };
  Json document = Json::parse(text, watch, /*allow_exceptions=*/false, /*ignore_comments=*/true);
  if (document.is_discarded())
    return Wrong({.file = file,
                  .place = "",
                  .expected = "expected JSON: an array of expectations",
                  .cure = "check its syntax, or write [] for none"});
  if (!twice.empty())
    return Wrong(
        {.file = file,
         .place = "",
         .expected = "expected each member once in an object, but \"" + twice + "\" is there twice",
         .cure = "remove one of them"});
  return document;
}

std::expected<Expectation, ExpectationError> read_one(const Json& entry, const std::string& file,
                                                      const std::string& place) {
  if (!entry.is_object()) return Wrong({file, place, "expected an object", std::string(kExample)});
  for (const auto& [key, value] : entry.items())
    if (std::ranges::find(kMembers, key) == kMembers.end())
      return Wrong({file, fmt::format("{}/{}", place, key), "expected only " + listed(kMembers),
                    "remove this member"});
  for (const auto member : kMembers) {
    const auto found = entry.find(member);
    if (found == entry.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
      return Wrong({file, place + "/" + std::string(member), "expected a text that is not empty",
                    std::string(kExample)});
  }
  Expectation read = {.scenario = entry["scenario"],
                      .divergence_class = entry["class"],
                      .because = entry["because"],
                      .source = entry["source"],
                      .place = file + ": " + place};
  if (std::ranges::find(kClasses, read.divergence_class) == kClasses.end())
    return Wrong({file, place + "/class", "expected one of " + listed(kClasses),
                  "take the class that the report shows"});
  const auto star = read.scenario.find('*');
  if (star != std::string::npos &&
      (star + 1 != read.scenario.size() || !read.scenario.ends_with("/*") || star < 2))
    return Wrong({file, place + "/scenario", "expected an id, or a prefix that ends in /*",
                  "a * stands only at the end, for all that begins so"});
  return read;
}

}  // namespace

std::string to_string(const ExpectationError& error) {
  std::string text = error.file + ": ";
  if (!error.place.empty()) text += error.place + ": ";
  text += error.expected;
  if (!error.cure.empty()) text += "; " + error.cure;
  return text;
}

Expectations parse_expectations(std::string_view text, const std::string& file) {
  const auto document = parse_strictly(text, file);
  if (!document) return std::unexpected(document.error());
  if (!document->is_array())
    return Wrong({file, "", "expected an array of expectations", "write [] for none"});
  std::vector<Expectation> all;
  std::set<std::pair<std::string, std::string>> seen;
  for (std::size_t i = 0; i < document->size(); ++i) {
    const std::string place = "/" + std::to_string(i);
    auto one = read_one((*document)[i], file, place);
    if (!one) return std::unexpected(one.error());
    if (!seen.emplace(one->scenario, one->divergence_class).second)
      return Wrong({file, place, "expected each scenario and class once", "remove one of them"});
    all.push_back(std::move(*one));
  }
  return all;
}

Expectations load_expectations(const std::string& directory, const std::string& version) {
  const std::string file = directory + "/" + version + ".json";
  std::ifstream in(file, std::ios::binary);
  if (!in) return std::vector<Expectation>{};
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) return Wrong({file, "", "expected a file that can be read", "check the disk"});
  return parse_expectations(text, file);
}

bool covers(const Expectation& expectation, std::string_view scenario) {
  const std::string_view id = expectation.scenario;
  if (id.ends_with("/*")) return scenario.starts_with(id.substr(0, id.size() - 1));
  return scenario == id;
}

const Expectation* find_expectation(const std::vector<Expectation>& expectations,
                                    std::string_view scenario, std::string_view divergence_class) {
  for (const Expectation& expectation : expectations)
    if (expectation.divergence_class == divergence_class && covers(expectation, scenario))
      return &expectation;
  return nullptr;
}

}  // namespace real_qemu
