// Events on their way to a monitor.

#pragma once

#include <deque>
#include <string>

#include "sim/base/json.h"
#include "sim/world/world.h"

namespace sim::qmp {

struct Event {
  std::string name;
  Json data;  // an object; empty if the event has none
  Instant at;
};

class Events {
 public:
  explicit Events(World& world) : world_(world) {}

  void emit(std::string name, Json data = Json::object()) {
    world_.record("event", name);
    pending_.push_back({std::move(name), std::move(data), world_.scheduler.now()});
  }
  bool empty() const { return pending_.empty(); }
  Event take() {
    Event event = std::move(pending_.front());
    pending_.pop_front();
    return event;
  }

 private:
  World& world_;
  std::deque<Event> pending_;
};

// As on the wire: {"event", "data"?, "timestamp": {"seconds", "microseconds"}} in virtual time.
inline Json to_json(const Event& event) {
  Json json = {{"event", event.name},
               {"timestamp",
                {{"seconds", event.at.ns / 1'000'000'000},
                 {"microseconds", event.at.ns / 1'000 % 1'000'000}}}};
  if (!event.data.empty()) json["data"] = event.data;
  return json;
}

}  // namespace sim::qmp
