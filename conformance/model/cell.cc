#include "conformance/model/cell.h"

#include <fmt/format.h>

namespace conformance::model {

bool Cell::allows(Kind kind, std::uint8_t byte) const {
  switch (kind) {
    case Kind::absent:
      return absent;
    case Kind::zero:
      return zero;
    case Kind::data:
      return data.test(byte);
  }
  return false;
}

std::optional<Kind> Cell::kind() const {
  if (absent && !zero && data.none()) return Kind::absent;
  if (zero && !absent && data.none()) return Kind::zero;
  if (data.any() && !absent && !zero) return Kind::data;
  return std::nullopt;
}

bool Cell::certain() const { return (absent ? 1U : 0U) + (zero ? 1U : 0U) + data.count() == 1; }

std::string Cell::text() const {
  std::string text;
  const auto add = [&text](const std::string& one) { text += (text.empty() ? "" : " or ") + one; };
  if (absent) add("absent");
  if (zero) add("zero");
  for (unsigned byte = 0; byte < data.size(); ++byte)
    if (data.test(byte)) add(fmt::format("data 0x{:02x}", byte));
  return text.empty() ? "nothing" : text;
}

Cell either(const Cell& left, const Cell& right) {
  return {.absent = left.absent || right.absent,
          .zero = left.zero || right.zero,
          .data = left.data | right.data,
          .hole = left.hole || right.hole};
}

Values values_of(const Cell& cell, const Values& below) {
  Values values = cell.data;
  if (cell.zero) values.set(0);
  if (cell.absent) values |= below;
  return values;
}

std::optional<std::uint8_t> only(const Values& values) {
  if (values.count() != 1) return std::nullopt;
  for (unsigned byte = 0; byte < values.size(); ++byte)
    if (values.test(byte)) return static_cast<std::uint8_t>(byte);
  return std::nullopt;
}

std::string text(const Values& values) {
  std::string text;
  for (unsigned byte = 0; byte < values.size(); ++byte)
    if (values.test(byte)) text += (text.empty() ? "" : "|") + std::to_string(byte);
  return text;
}

}  // namespace conformance::model
