#include "sim/driver/blkdebug_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <set>
#include <vector>

#include "sim/base/text.h"

namespace sim::driver {

namespace {

// QAPI: BlkdebugEvent.
constexpr std::string_view kEvents =
    "l1_update|l1_grow_alloc_table|l1_grow_write_table|l1_grow_activate_table|l2_load|l2_update|"
    "l2_update_compressed|l2_alloc_cow_read|l2_alloc_write|read_aio|read_backing_aio|"
    "read_compressed|write_aio|write_compressed|vmstate_load|vmstate_save|cow_read|cow_write|"
    "reftable_load|reftable_grow|reftable_update|refblock_load|refblock_update|"
    "refblock_update_part|refblock_alloc|refblock_alloc_hookup|refblock_alloc_write|"
    "refblock_alloc_write_blocks|refblock_alloc_write_table|refblock_alloc_switch_table|"
    "cluster_alloc|cluster_alloc_bytes|cluster_free|flush_to_os|flush_to_disk|pwritev_rmw_head|"
    "pwritev_rmw_after_head|pwritev_rmw_tail|pwritev_rmw_after_tail|pwritev|pwritev_zero|"
    "pwritev_done|empty_image_prepare|l1_shrink_write_table|l1_shrink_free_l2_clusters|cor_write|"
    "cluster_alloc_space|none";

// Those whose moments are not QEMU's here: the limits of this driver cut nothing, and the layout of
// an image is made anew in another order.
constexpr std::string_view kNotHere =
    "pwritev_rmw_head|pwritev_rmw_after_head|pwritev_rmw_tail|pwritev_rmw_after_tail|"
    "empty_image_prepare|l1_shrink_write_table|l1_shrink_free_l2_clusters|cor_write";

enum class Type : std::uint8_t { text, number, truth };
struct Option {
  std::string_view section, name;
  Type type;
};
constexpr std::array kOptions = {Option{"inject-error", "event", Type::text},
                                 Option{"inject-error", "state", Type::number},
                                 Option{"inject-error", "iotype", Type::text},
                                 Option{"inject-error", "errno", Type::number},
                                 Option{"inject-error", "sector", Type::number},
                                 Option{"inject-error", "once", Type::truth},
                                 Option{"inject-error", "immediately", Type::truth},
                                 Option{"set-state", "event", Type::text},
                                 Option{"set-state", "state", Type::number},
                                 Option{"set-state", "new_state", Type::number}};

Error fault(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Result<Json> read_number(std::string_view name, const std::string& value) {
  char* end = nullptr;
  errno = 0;
  const auto number = static_cast<std::int64_t>(std::strtoull(value.c_str(), &end, 0));
  if (end == value.c_str() || *end != '\0')
    return fault(fmt::format("Parameter '{}' expects a number", name));
  if (errno == ERANGE)
    return fault(fmt::format("Value '{}' is too large for parameter '{}'", value, name));
  return Json(number);
}

Result<Json> read_truth(std::string_view name, const std::string& value) {
  if (is_listed("on|yes|true|y", value)) return Json(true);
  if (is_listed("off|no|false|n", value)) return Json(false);
  return fault(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
}

struct Section {
  std::string name;
  std::optional<std::string> id;
  std::vector<std::pair<std::string, std::string>> values;  // as given
};

class Parser {
 public:
  Result<> take_line(std::string_view line);
  // The section that was being read is complete.
  Result<> finish_section();
  Json take() { return std::move(rules_); }

 private:
  Result<> take_value(std::string_view line);

  std::optional<Section> section_;
  std::set<std::pair<std::string, std::string>> ids_;
  Json rules_ = {{"inject-error", Json::array()}, {"set-state", Json::array()}};
};

Result<> Parser::finish_section() {
  if (!section_) return ok();
  const Section section = *std::exchange(section_, std::nullopt);
  if (!is_listed("inject-error|set-state", section.name))
    return fault(fmt::format("There is no option group '{}'", section.name));
  if (section.id && !is_well_formed_id(*section.id))
    return fault("Parameter 'id' expects an identifier");
  if (section.id && !ids_.emplace(section.name, *section.id).second)
    return fault(fmt::format("Duplicate ID '{}' for {}", *section.id, section.name));
  Json rule = Json::object();
  for (const auto& [name, value] : section.values) {
    const auto* const option = std::ranges::find_if(
        kOptions, [&](const Option& it) { return it.section == section.name && it.name == name; });
    if (option == kOptions.end()) return fault(fmt::format("Invalid parameter '{}'", name));
    if (option->type == Type::text)
      rule[name] = value;
    else {
      TRY(rule[name],
          option->type == Type::number ? read_number(name, value) : read_truth(name, value));
    }
  }
  rules_[section.name].push_back(std::move(rule));
  return ok();
}

constexpr std::string_view kSpaces = " \t\r\n\v\f";

// QEMU reads lines with scanf: the name is a word, and what is not `= "text"` behind it is no text.
Result<> Parser::take_value(std::string_view line) {
  const std::size_t begin = std::min(line.find_first_not_of(kSpaces), line.size());
  const std::size_t end = std::min(line.find_first_of(kSpaces, begin), line.size());
  if (begin == end) return fault("parse error");
  if (!section_) return fault("no group defined");
  const std::string name(line.substr(begin, end - begin));
  std::string value;
  std::size_t at = line.find_first_not_of(kSpaces, end);
  if (at != std::string_view::npos && line[at] == '=') {
    at = line.find_first_not_of(kSpaces, at + 1);
    if (at != std::string_view::npos && line[at] == '"')
      value = line.substr(at + 1, line.find('"', at + 1) - (at + 1));
  }
  section_->values.emplace_back(name, std::move(value));
  return ok();
}

Result<> Parser::take_line(std::string_view line) {
  if (line == "\n" || line.starts_with('#')) return ok();
  if (!line.starts_with('[')) return take_value(line);
  Section next;
  const std::size_t word = std::min(line.find_first_not_of(kSpaces, 1), line.size());
  const std::size_t end = std::min(line.find_first_of(kSpaces, word), line.size());
  const std::size_t quote = line.find_first_not_of(kSpaces, end);
  const bool quoted = quote != std::string_view::npos && line[quote] == '"' &&
                      quote + 1 < line.size() && line[quote + 1] != '"';
  if (end > word && quoted) {
    next.name = line.substr(word, end - word);
    next.id = line.substr(quote + 1, line.find('"', quote + 1) - (quote + 1));
  } else {
    next.name = line.substr(1, line.find(']', 1) - 1);
    if (next.name.empty()) return take_value(line);
  }
  TRY_OK(finish_section());
  section_ = std::move(next);
  return ok();
}

}  // namespace

Result<Json> parse_blkdebug_config(std::string_view text, const Profile& profile) {
  Parser parser;
  Result<> done = ok();
  while (done && !text.empty()) {
    const std::size_t length = std::min(text.find('\n'), text.size() - 1) + 1;
    done = parser.take_line(text.substr(0, length));
    text.remove_prefix(length);
  }
  if (done) done = parser.finish_section();
  if (done) return parser.take();
  if (profile.blkdebug_tells_config_fault) return std::move(done).error();
  return fault("Could not parse blkdebug config file");
}

bool is_blkdebug_event(std::string_view name) { return is_listed(kEvents, name); }

bool is_raised_here(std::string_view name) {
  return is_blkdebug_event(name) && !is_listed(kNotHere, name);
}

}  // namespace sim::driver
