// The life of a job, as data: which status may follow which, and which verb each status accepts.
//
// Source: QAPI's JobStatus and JobVerb, and what QEMU 7.2 was seen to do (rules_test.cc holds the
// measured refusals).  Labels and widths are checked when this header compiles.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sim::job {

enum class Status : std::uint8_t {
  undefined,
  created,
  running,
  paused,
  ready,
  standby,
  waiting,
  pending,
  aborting,
  concluded,
  null,
};
inline constexpr std::array<std::string_view, 11> kStatusNames = {
    "undefined", "created", "running",  "paused",    "ready", "standby",
    "waiting",   "pending", "aborting", "concluded", "null",
};

enum class Verb : std::uint8_t {
  cancel,
  pause,
  resume,
  set_speed,
  complete,
  finalize,
  dismiss,
  change,
};
inline constexpr std::array<std::string_view, 8> kVerbNames = {
    "cancel", "pause", "resume", "set-speed", "complete", "finalize", "dismiss", "change",
};

constexpr std::string_view name_of(Status status) {
  return kStatusNames[static_cast<std::size_t>(status)];
}
constexpr std::string_view name_of(Verb verb) { return kVerbNames[static_cast<std::size_t>(verb)]; }

// A table of 'x' (yes) and '.' (no): one labelled row per name, one column per Status.
template <std::size_t rows>
class Table {
 public:
  consteval Table(const std::array<std::string_view, rows>& names,
                  const std::array<std::string_view, rows>& text) {
    for (std::size_t row = 0; row < rows; ++row) cells_[row] = parse(names[row], text[row]);
  }
  template <class Row>
  constexpr bool operator()(Row row, Status column) const {
    return cells_[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
  }

 private:
  using Cells = std::array<bool, kStatusNames.size()>;

  static consteval Cells parse(std::string_view name, std::string_view text) {
    if (!text.starts_with(name)) throw "row label does not match the enum's order";
    text.remove_prefix(name.size());
    Cells cells{};
    std::size_t column = 0;
    for (const char c : text) {
      if (c == ' ') continue;
      if (c != 'x' && c != '.') throw "a cell is neither 'x' nor '.'";
      cells.at(column++) = (c == 'x');
    }
    if (column != cells.size()) throw "a row has too few cells";
    return cells;
  }

  std::array<Cells, rows> cells_{};
};

struct Rules {
  Table<kStatusNames.size()> next;
  Table<kVerbNames.size()> accepts;
};

// clang-format off
inline constexpr Rules kRules = {
  .next = {kStatusNames, {
    //           U C R P Y S W D X E N
    "undefined   . x . . . . . . . . .",
    "created     . . x . . . . . x . x",
    "running     . . . x x . x . x . .",
    "paused      . . x . . . . . . . .",
    "ready       . . . . . x x . x . .",
    "standby     . . . . x . . . . . .",
    "waiting     . . . . . . . x x . .",
    "pending     . . . . . . . . x x .",
    "aborting    . . . . . . . . x x .",
    "concluded   . . . . . . . . . . x",
    "null        . . . . . . . . . . .",
  }},
  .accepts = {kVerbNames, {
    //           U C R P Y S W D X E N
    "cancel      . x x x x x x x . . .",
    "pause       . x x x x x . . . . .",
    "resume      . x x x x x . . . . .",
    "set-speed   . x x x x x . . . . .",
    "complete    . . . . x x . . . . .",
    "finalize    . . . . . . . x . . .",
    "dismiss     . . . . . . . . . x .",
    "change      . x x x x x . . . . .",
  }},
};
// clang-format on

static_assert(kRules.next(Status::pending, Status::concluded));
static_assert(!kRules.next(Status::null, Status::created));
static_assert(kRules.accepts(Verb::complete, Status::standby));
static_assert(!kRules.accepts(Verb::pause, Status::waiting));

}  // namespace sim::job
