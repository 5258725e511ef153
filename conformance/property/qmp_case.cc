#include "conformance/property/qmp_case.h"

#include <algorithm>
#include <array>
#include <set>

namespace conformance::property {

namespace {

// Commands after which no job has moved.
bool leaves_jobs_alone(const std::string& command) {
  return command.starts_with("query-") || command.starts_with("block-dirty-bitmap-") ||
         command == "blockdev-add" || command == "blockdev-del";
}

// Removes the images that no image and no command names.
void drop_unused(QmpCase& it) {
  std::string named;
  for (const QmpStep& step : it.steps) named += step.arguments.dump();
  for (bool again = true; again;) {
    const auto unused = std::ranges::find_if(it.images, [&](const Image& image) {
      return named.find("/" + image.file) == named.npos &&
             std::ranges::none_of(it.images,
                                  [&](const Image& other) { return other.backing == image.name; });
    });
    again = unused != it.images.end();
    if (again) it.images.erase(unused);
  }
}

}  // namespace

PlannedScenario to_scenario(const QmpCase& drawn) {
  PlannedScenario planned;
  Scenario& scenario = planned.scenario;
  scenario.id = "explore/qmp";
  scenario.title = "Found by a random search";
  scenario.because = "a release and the simulator's profile of it differ";
  scenario.images = drawn.images;
  scenario.files = FileComparison::content;
  for (const QmpStep& step : drawn.steps) {
    scenario.steps.push_back({step, {}});
    if (!leaves_jobs_alone(step.command)) scenario.steps.push_back({RestStep{}, {}});
  }
  return planned;
}

std::vector<QmpCase> smaller(const QmpCase& from) {
  std::vector<QmpCase> found;
  const auto propose = [&](QmpCase it) {
    drop_unused(it);
    if (!it.steps.empty()) found.push_back(std::move(it));
  };
  const std::size_t count = from.steps.size();
  for (std::size_t length = count / 2; length > 0; length /= 2)
    for (std::size_t at = 0; at + length <= count; at += length) {
      QmpCase it = from;
      const auto first = it.steps.begin() + static_cast<std::ptrdiff_t>(at);
      it.steps.erase(first, first + static_cast<std::ptrdiff_t>(length));
      propose(std::move(it));
    }
  for (std::size_t i = 0; i < count; ++i) {
    const Json& arguments = from.steps[i].arguments;
    const Json members = arguments.is_object() ? arguments : Json::object();
    for (const auto& [name, value] : members.items()) {
      QmpCase it = from;
      it.steps[i].arguments.erase(name);
      propose(std::move(it));
    }
    if (from.steps[i].command != "transaction") continue;
    const std::size_t actions = arguments.value("actions", Json::array()).size();
    for (std::size_t k = 0; actions > 1 && k < actions; ++k) {
      QmpCase it = from;
      it.steps[i].arguments["actions"].erase(k);
      propose(std::move(it));
    }
  }
  for (std::size_t i = 0; i < from.images.size(); ++i)
    for (std::size_t k = 0; k < from.images[i].writes.size(); ++k) {
      QmpCase it = from;
      auto& writes = it.images[i].writes;
      writes.erase(writes.begin() + static_cast<std::ptrdiff_t>(k));
      propose(std::move(it));
    }
  return found;
}

}  // namespace conformance::property
