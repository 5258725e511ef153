#include "conformance/scenario/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "conformance/scenario/variables.h"

namespace conformance {
namespace {

struct Value {
  std::string name;
  const Json* fragment;
  std::string place;
};

struct Axis {
  std::string name;
  std::string label;  // with {} where the value's name goes
  std::vector<Value> values;
};

struct Rule {
  const Json* json;
  std::string place;
  std::map<std::size_t, std::set<std::size_t>> when;  // axis to values
  std::vector<std::size_t> omit;                      // axes
  bool exclude = false;
  bool matched = false;
};

// One value for each axis; nothing for an axis that was dropped.
using Choice = std::vector<std::optional<std::size_t>>;

const Json& at_or(const Json& object, const char* key, const Json& otherwise) {
  const auto found = object.find(key);
  return found == object.end() ? otherwise : *found;
}
const Json kNoObject = Json::object();
const Json kNoArray = Json::array();

std::string text_or(const Json& object, const char* key, const std::string& otherwise) {
  const auto found = object.find(key);
  return found == object.end() ? otherwise : found->get<std::string>();
}

// A draft while its pieces are gathered.
struct Building {
  Draft draft;
  Variables variables;
  std::map<std::string, std::vector<Placed>> parts;
};

std::string label(const Axis& axis, std::size_t value) {
  std::string text = axis.label;
  return text.replace(text.find("{}"), 2, axis.values[value].name);
}

class Matrix {
 public:
  Matrix(const Json& document, std::string id, const std::string& file)
      : document_(document), id_(std::move(id)), error_(file) {}

  InputResult<Expansion> expand() {
    if (document_.contains("matrix")) {
      const Json& matrix = document_["matrix"];
      read_axes(matrix["axes"]);
      if (!error_) read_rules(at_or(matrix, "rules", kNoArray));
    }
    if (!error_) check_names();
    if (!error_) walk();
    if (!error_) check_rules_matched();
    if (error_) return error_.unexpected();
    return std::move(expansion_);
  }

 private:
  void read_axes(const Json& axes);
  void read_rules(const Json& rules);
  void read_when(Rule& rule);
  std::optional<std::size_t> axis_index(const std::string& name, const std::string& place);
  void check_names();
  void check_parts(const std::set<std::string>& defined, const std::set<std::string>& used);
  void walk();
  void visit(Choice choice);
  void check_rules_matched();

  static bool matches(const Rule& rule, const Choice& choice);
  std::string id_of(const Choice& choice) const;
  std::string id_of_excluded(const Rule& rule, const Choice& choice) const;

  void add_draft(const Choice& choice, const std::vector<const Rule*>& kept);
  void add_image(Building& building, const std::string& name, const Json& image,
                 const std::string& place);
  static void add_disks(Building& building, const Json& owner, const std::string& place);
  static void add_leases(Building& building, const Json& owner, const std::string& place);
  static void add_part(Building& building, const std::string& name, const Json& steps,
                       const std::string& place);
  void add_fragment(Building& building, const Json& fragment, const std::string& place);
  void override_by(Building& building, const Rule& rule);
  void finish(Building& building);

  template <class Visit>  // (const Json& fragment, const std::string& place)
  void for_each_fragment(Visit visit) const {
    const Json& matrix = at_or(document_, "matrix", kNoObject);
    visit(matrix, "/matrix");  // of the keys of a fragment it has only "vars"
    for (const Axis& axis : axes_)
      for (const Value& value : axis.values) visit(*value.fragment, value.place);
    for (const Rule& rule : rules_) visit(*rule.json, rule.place);
  }

  const Json& document_;
  std::string id_;
  FirstError error_;
  std::vector<Axis> axes_;
  std::vector<Rule> rules_;
  std::set<Choice> seen_;
  std::set<std::string> ids_;
  std::set<std::string> excluded_ids_;
  Expansion expansion_;
};

void Matrix::read_axes(const Json& axes) {
  std::size_t combinations = 1;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::string place = element("/matrix/axes", i);
    Axis axis;
    axis.name = axes[i]["name"].get<std::string>();
    axis.label = text_or(axes[i], "label", axis.name + "={}");
    if (axis.label.find("{}") == std::string::npos)
      error_.report(member(place, "label"), "a `{}`, where the value's name goes");
    for (const Axis& other : axes_)
      if (other.name == axis.name)
        error_.report(member(place, "name"), "another name: there is an axis of this one");
    for (const auto& [name, fragment] : axes[i]["values"].items())
      axis.values.push_back({name, &fragment, member(member(place, "values"), name)});
    combinations *= axis.values.size();
    if (combinations > kCombinationsMax) {
      error_.report("/matrix/axes", fmt::format("at most {} combinations", kCombinationsMax));
      return;
    }
    axes_.push_back(std::move(axis));
  }
}

std::optional<std::size_t> Matrix::axis_index(const std::string& name, const std::string& place) {
  for (std::size_t i = 0; i < axes_.size(); ++i)
    if (axes_[i].name == name) return i;
  error_.report(place, fmt::format("the name of an axis, not \"{}\"", name));
  return std::nullopt;
}

void Matrix::read_when(Rule& rule) {
  const std::string place = member(rule.place, "when");
  for (const auto& [name, values] : rule.json->at("when").items()) {
    const auto axis = axis_index(name, member(place, name));
    if (!axis) return;
    std::set<std::size_t>& chosen = rule.when[*axis];
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto& all = axes_[*axis].values;
      const auto found = std::ranges::find(all, values[i].get<std::string>(), &Value::name);
      if (found == all.end())
        error_.report(element(member(place, name), i),
                      fmt::format("a value of the axis \"{}\"", name));
      else
        chosen.insert(static_cast<std::size_t>(found - all.begin()));
    }
  }
}

void Matrix::read_rules(const Json& rules) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    Rule rule{.json = &rules[i], .place = element("/matrix/rules", i), .when = {}, .omit = {}};
    read_when(rule);
    const Json& omit = at_or(rules[i], "omit", kNoArray);
    for (std::size_t k = 0; k < omit.size(); ++k) {
      const std::string place = element(member(rule.place, "omit"), k);
      const auto axis = axis_index(omit[k].get<std::string>(), place);
      if (axis && rule.when.contains(*axis))
        error_.report(place, "an axis that the rule's \"when\" does not name");
      if (axis) rule.omit.push_back(*axis);
    }
    rule.exclude = rules[i].contains("exclude");
    if ((rule.exclude || !rule.omit.empty()) && !rules[i].contains("because"))
      error_.report(rule.place, "a member \"because\" in a rule that leaves something out",
                    "say why the combination cannot be, or where that is written");
    if (error_) return;
    rules_.push_back(std::move(rule));
  }
}

// Variables and parts are defined if they are used, and used if they are defined.
void Matrix::check_names() {
  std::map<std::string, std::string> variables;  // name to where it is defined
  std::set<std::string> used;
  std::set<std::string> parts;
  std::set<std::string> used_parts;
  const auto add_uses = [&](const Json& owner, const std::string& place) {
    for (const char* key : {"title", "images", "disks", "leases", "steps", "parts"})
      if (const auto found = owner.find(key); found != owner.end())
        collect_variables(*found, member(place, key), used, error_);
  };
  add_uses(document_, "");
  for_each_fragment([&](const Json& fragment, const std::string& place) {
    for (const auto& [name, value] : at_or(fragment, "vars", kNoObject).items()) {
      const std::string here = member(member(place, "vars"), name);
      variables.emplace(name, here);
      std::set<std::string> inner;
      collect_variables(value, here, inner, error_);
      if (!inner.empty())
        error_.report(here, "a variable's value without other variables", "write the value out");
    }
    for (const auto& [name, steps] : at_or(fragment, "parts", kNoObject).items()) {
      parts.insert(name);
      for (std::size_t i = 0; i < steps.size(); ++i)
        if (steps[i].contains("part"))
          error_.report(element(member(member(place, "parts"), name), i),
                        "steps that are not parts themselves");
    }
    add_uses(fragment, place);
  });
  for (const auto& [name, place] : variables)
    if (!used.contains(name))
      error_.report(place, fmt::format("a use of the variable `${{{}}}`", name), "remove it");
  for (const Json& step : document_["steps"])
    if (step.contains("part")) used_parts.insert(step["part"].get<std::string>());
  check_parts(parts, used_parts);
}

void Matrix::check_parts(const std::set<std::string>& defined, const std::set<std::string>& used) {
  for (const std::string& name : used)
    if (!defined.contains(name))
      error_.report("/steps", fmt::format("parts that are defined, not \"{}\"", name),
                    "define it in an axis or a rule, under \"parts\"");
  for (const std::string& name : defined)
    if (!used.contains(name))
      error_.report("/steps", fmt::format("a step {{\"part\": \"{}\"}}", name),
                    "the matrix defines this part and nothing uses it");
}

void Matrix::walk() {
  Choice choice(axes_.size(), 0);
  while (true) {
    visit(choice);
    if (error_) return;
    std::size_t axis = axes_.size();
    while (axis > 0 && ++*choice[axis - 1] == axes_[axis - 1].values.size()) choice[--axis] = 0;
    if (axis == 0) return;
  }
}

bool Matrix::matches(const Rule& rule, const Choice& choice) {
  return std::ranges::all_of(rule.when, [&](const auto& condition) {
    const std::optional<std::size_t> value = choice[condition.first];
    return value && condition.second.contains(*value);
  });
}

void Matrix::visit(Choice choice) {
  for (const Rule& rule : rules_)
    if (!rule.omit.empty() && matches(rule, choice))
      for (const std::size_t axis : rule.omit) choice[axis].reset();
  if (!seen_.insert(choice).second) return;

  std::vector<const Rule*> kept;
  for (Rule& rule : rules_) {
    if (!matches(rule, choice)) continue;
    if (rule.exclude) {
      rule.matched = true;
      const std::string id = id_of_excluded(rule, choice);
      if (excluded_ids_.insert(id).second)
        expansion_.excluded.push_back({id, rule.json->at("because").get<std::string>()});
      return;
    }
    rule.matched = true;
    kept.push_back(&rule);
  }
  add_draft(choice, kept);
}

std::string Matrix::id_of(const Choice& choice) const {
  std::string id = id_;
  for (std::size_t i = 0; i < axes_.size(); ++i)
    if (choice[i]) id += "/" + label(axes_[i], *choice[i]);
  return id;
}

// Of the axes that the rule names, the values; of the others, "*".
std::string Matrix::id_of_excluded(const Rule& rule, const Choice& choice) const {
  std::string id = id_;
  for (std::size_t i = 0; i < axes_.size(); ++i)
    id += "/" + (rule.when.contains(i) ? label(axes_[i], *choice[i]) : "*");
  return id;
}

void Matrix::add_image(Building& building, const std::string& name, const Json& image,
                       const std::string& place) {
  if (building.draft.images.contains(name))
    error_.report(place, fmt::format("only one image \"{}\" in {}", name, building.draft.id),
                  "rename it, or override it in a rule");
  building.draft.images.insert_or_assign(name, Placed{image, place});
}

void Matrix::add_disks(Building& building, const Json& owner, const std::string& place) {
  const Json& disks = at_or(owner, "disks", kNoArray);
  for (std::size_t i = 0; i < disks.size(); ++i)
    building.draft.disks.push_back({disks[i], element(member(place, "disks"), i)});
}

void Matrix::add_leases(Building& building, const Json& owner, const std::string& place) {
  if (!owner.contains("leases")) return;
  auto& leases = building.draft.leases;
  if (!leases) leases.emplace();
  for (std::size_t i = 0; i < owner["leases"].size(); ++i)
    leases->push_back({owner["leases"][i], element(member(place, "leases"), i)});
}

void Matrix::add_part(Building& building, const std::string& name, const Json& steps,
                      const std::string& place) {
  for (std::size_t i = 0; i < steps.size(); ++i)
    building.parts[name].push_back({steps[i], element(place, i)});
}

void Matrix::add_fragment(Building& building, const Json& fragment, const std::string& place) {
  for (const auto& [name, value] : at_or(fragment, "vars", kNoObject).items())
    if (!building.variables.emplace(name, value).second)
      error_.report(member(member(place, "vars"), name),
                    fmt::format("only one axis to set `${{{}}}` in {}", name, building.draft.id),
                    "set it in a rule, which may override");
  for (const auto& [name, image] : at_or(fragment, "images", kNoObject).items())
    add_image(building, name, image, member(member(place, "images"), name));
  for (const auto& [name, steps] : at_or(fragment, "parts", kNoObject).items())
    add_part(building, name, steps, member(member(place, "parts"), name));
  add_disks(building, fragment, place);
  add_leases(building, fragment, place);
}

void Matrix::override_by(Building& building, const Rule& rule) {
  for (const auto& [name, value] : at_or(*rule.json, "vars", kNoObject).items())
    building.variables.insert_or_assign(name, value);
  for (const auto& [name, image] : at_or(*rule.json, "images", kNoObject).items()) {
    building.draft.images.erase(name);
    add_image(building, name, image, member(member(rule.place, "images"), name));
  }
  for (const auto& [name, steps] : at_or(*rule.json, "parts", kNoObject).items()) {
    building.parts[name].clear();
    add_part(building, name, steps, member(member(rule.place, "parts"), name));
  }
  building.draft.because = text_or(*rule.json, "because", building.draft.because);
}

void Matrix::finish(Building& building) {
  Draft& draft = building.draft;
  draft.persistent = document_.value("persistent", false);
  draft.recipe = text_or(document_, "recipe", "blockdev");
  draft.since = text_or(document_, "since", "");
  draft.dialect = text_or(document_, "dialect", "as-libvirt");
  draft.files = text_or(document_, "files", "bytes");
  for (const auto& [key, command] :
       {std::pair{"nodes", "blockdev-add"}, {"devices", "device_add"}}) {
    const Json& list = at_or(document_, key, kNoArray);
    for (std::size_t i = 0; i < list.size(); ++i)
      draft.steps.push_back(
          {Json{{"qmp", command}, {"arguments", list[i]}, {"expect", {{"return", Json::object()}}}},
           element(member("", key), i)});
  }
  const Json& steps = document_["steps"];
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].contains("part"))
      std::ranges::copy(building.parts[steps[i]["part"].get<std::string>()],
                        std::back_inserter(draft.steps));
    else
      draft.steps.push_back({steps[i], element("/steps", i)});
  }
  const auto replace = [&](Placed& piece) {
    piece.value = substitute(piece.value, building.variables, piece.place, error_);
  };
  for (auto& [name, image] : draft.images) replace(image);
  for (Placed& disk : draft.disks) replace(disk);
  if (draft.leases)
    for (Placed& lease : *draft.leases) replace(lease);
  for (Placed& step : draft.steps) replace(step);
  Placed title{document_["title"], "/title"};
  replace(title);
  if (title.value.is_string())
    draft.title = title.value.get<std::string>();
  else
    error_.report("/title", "a title that is a string");
}

void Matrix::add_draft(const Choice& choice, const std::vector<const Rule*>& kept) {
  Building building;
  Draft& draft = building.draft;
  draft.id = id_of(choice);
  draft.because = document_["because"].get<std::string>();
  if (!ids_.insert(draft.id).second) {
    error_.report("/matrix/axes", "labels that make every id unique, not two of " + draft.id);
    return;
  }
  for (const auto& [name, image] : at_or(document_, "images", kNoObject).items())
    add_image(building, name, image, member("/images", name));
  add_disks(building, document_, "");
  add_leases(building, document_, "");
  for (std::size_t i = 0; i < axes_.size(); ++i)
    if (choice[i]) {
      const Value& value = axes_[i].values[*choice[i]];
      add_fragment(building, *value.fragment, value.place);
    }
  for (const Rule* rule : kept) override_by(building, *rule);
  // What no axis and no rule sets has its default.
  const Json& matrix = at_or(document_, "matrix", kNoObject);
  for (const auto& [name, value] : at_or(matrix, "vars", kNoObject).items())
    building.variables.emplace(name, value);
  finish(building);
  expansion_.drafts.push_back(std::move(draft));
}

void Matrix::check_rules_matched() {
  for (const Rule& rule : rules_)
    if (!rule.matched)
      error_.report(
          rule.place, "a rule that matches some combination",
          "no combination reaches it; remove it, or move it above the rule that hides it");
}

}  // namespace

InputResult<Expansion> expand(const Json& document, const std::string& id,
                              const std::string& file) {
  return Matrix(document, id, file).expand();
}

}  // namespace conformance
