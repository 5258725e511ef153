#include "sim/qmp/schema.h"

#include <algorithm>
#include <array>

#include "sim/base/check.h"

namespace sim::qmp {

const syntax::Document& Schema::document() {
  static const syntax::Document parsed = syntax::parse(syntax::declarations());
  return parsed;
}

template <std::size_t release>
const Schema& Schema::built() {
  static const Schema schema(kProfiles[release], release);
  return schema;
}

const Schema& Schema::of(const Profile& profile) {
  constexpr std::array kBuilt = {&built<0>, &built<1>, &built<2>, &built<3>};
  static_assert(kBuilt.size() == kProfiles.size());
  const auto place = std::ranges::find(kProfiles, profile.name, &Profile::name);
  CHECK(place != kProfiles.end(), profile.name);
  return kBuilt[static_cast<std::size_t>(place - kProfiles.begin())]();
}

Schema::Schema(const Profile& profile, std::size_t release) : profile_(profile), release_(release) {
  for (const syntax::Type& type : document().types) declared_[type.name] = &type;
  add_built_in();
  const Type* nothing = &add(Kind::object, "");
  for (const syntax::Message& declared : document().messages) {
    if (!in(declared.attributes)) continue;
    messages_.push_back({
        .name = declared.name,
        .is_event = declared.is_event,
        .out_of_band = declared.out_of_band,
        .checked = !declared.unchecked || !declared.unchecked->has(release_),
        .arguments = declared.arguments.empty() ? nothing : resolve({declared.arguments}),
        .returns = declared.returns.name.empty() ? nullptr : resolve(declared.returns),
        .features = features(declared.attributes.features),
    });
  }
  for (const Message& message : messages_) sorted_.push_back(&message);
  std::ranges::sort(sorted_, {}, &Message::name);
}

const Message* Schema::find(std::string_view name, bool is_event) const {
  const auto found = std::ranges::lower_bound(sorted_, name, {}, &Message::name);
  const bool there =
      found != sorted_.end() && (*found)->name == name && (*found)->is_event == is_event;
  return there ? *found : nullptr;
}

bool Schema::is_undeclared(std::string_view command) const {
  return std::ranges::any_of(document().undeclared, [&](const syntax::Undeclared& other) {
    return !other.is_event && other.message.name == command && in(other.message.attributes);
  });
}

std::vector<std::string_view> Schema::names(bool of_events) const {
  std::vector<std::string_view> names;
  for (const Message& message : messages_)
    if (message.is_event == of_events) names.push_back(message.name);
  for (const syntax::Undeclared& other : document().undeclared)
    if (other.is_event == of_events && in(other.message.attributes))
      names.push_back(other.message.name);
  return names;
}

const Type& Schema::type(std::string_view name) const {
  const auto found = by_name_.find(name);
  CHECK(found != by_name_.end(), name);
  return *found->second;
}

Type& Schema::add(Kind kind, std::string_view name) {
  types_.push_back({.kind = kind, .number = types_.size(), .name = name});
  if (kind != Kind::array) by_name_[name] = &types_.back();
  return types_.back();
}

void Schema::add_built_in() {
  add(Kind::string, "str");
  add(Kind::boolean, "bool");
  add(Kind::number, "number");
  add(Kind::null, "null");
  add(Kind::any, "any");
  add(Kind::integer, "int");
  Type& int32 = add(Kind::integer, "int32");
  int32.least = INT32_MIN;
  int32.most = INT32_MAX;
  add(Kind::unsigned_size, "uint16").most = UINT16_MAX;
  add(Kind::unsigned_size, "uint32").most = UINT32_MAX;
  add(Kind::unsigned_size, "uint64").most = UINT64_MAX;
  add(Kind::unsigned_size, "size").most = UINT64_MAX;
}

const Type* Schema::resolve(const syntax::TypeName& name) {
  if (name.is_array) {
    if (const auto known = arrays_.find(name.name); known != arrays_.end()) return known->second;
    Type& array = add(Kind::array, name.name);
    arrays_[name.name] = &array;
    array.element = resolve({name.name});
    return &array;
  }
  if (const auto known = by_name_.find(name.name); known != by_name_.end()) return known->second;
  const auto declared = declared_.find(name.name);
  CHECK(declared != declared_.end(), name.name);
  const syntax::Form form = declared->second->form;
  Type& type = add(form == syntax::Form::enumeration ? Kind::enumeration
                   : form == syntax::Form::alternate ? Kind::alternate
                                                     : Kind::object,
                   name.name);
  fill(type, *declared->second);
  return &type;
}

void Schema::fill(Type& type, const syntax::Type& declared) {
  type.features = features(declared.attributes.features);
  for (const syntax::Value& value : declared.values) {
    if (!in(value.attributes)) continue;
    if (type.kind == Kind::alternate)
      type.alternatives.push_back(resolve({value.name}));
    else
      type.values.push_back({value.name, features(value.attributes.features)});
  }
  if (!declared.base.empty()) type.members = resolve({declared.base})->members;
  for (const syntax::Member& member : declared.members)
    if (in(member.attributes))
      type.members.push_back({member.name, resolve(member.type), member.optional,
                              features(member.attributes.features)});
  if (!declared.tag.empty()) fill_branches(type, declared);
}

void Schema::fill_branches(Type& type, const syntax::Type& declared) {
  const auto tag = std::ranges::find(type.members, declared.tag, &Member::name);
  CHECK(tag != type.members.end(), type.name);
  if (tag->type->kind != Kind::enumeration) return;  // no union yet in this release
  type.tag = &*tag;
  const std::vector<Value>& values = tag->type->values;
  for (const syntax::Branch& branch : declared.branches)
    if (in(branch.tag.attributes) &&
        std::ranges::find(values, branch.tag.name, &Value::name) != values.end())
      type.branches.push_back({branch.tag.name, resolve(branch.type)});
}

Features Schema::features(const std::vector<syntax::Feature>& declared) const {
  Features found;
  for (const syntax::Feature& feature : declared) {
    if (!feature.range.has(release_)) continue;
    found.names.push_back(feature.name);
    found.deprecated |= feature.name == "deprecated";
    found.unstable |= feature.name == "unstable";
  }
  return found;
}

}  // namespace sim::qmp
