#include "sim/qmp/syntax.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/check.h"
#include "sim/qmp/profile.h"

namespace sim::qmp::syntax {

namespace {

constexpr Range kAll = {0, kProfiles.size() - 1};

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

class Parser {
 public:
  Parser(const Text& text, Document& document)
      : file_(text.file), text_(text.text), document_(document) {}

  void parse_all() {
    for (skip_space(); at_ < text_.size(); skip_space()) {
      const std::string_view keyword = word();
      if (keyword == "command" || keyword == "event")
        parse_message(keyword == "event");
      else if (keyword == "undeclared")
        parse_undeclared();
      else
        parse_type(keyword);
    }
  }

 private:
  void expect(bool condition, std::string_view what) const {
    if (condition) return;
    const auto line = std::ranges::count(text_.substr(0, at_), '\n') + 1;
    CHECK(condition, fmt::format("{}:{}: expected {}", file_, line, what));
  }
  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#')
        at_ = std::min(text_.find('\n', at_), text_.size());
      else if (c == ' ' || c == '\n' || c == ',')
        ++at_;
      else
        return;
    }
  }
  bool take(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void need(std::string_view token) { expect(take(token), token); }
  std::string_view word() {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    expect(at_ > begin, "a name");
    return text_.substr(begin, at_ - begin);
  }

  std::size_t release(std::string_view name) const {
    const auto found = std::ranges::find(kProfiles, name, &Profile::name);
    expect(found != kProfiles.end(), "a release that there is a profile of");
    return static_cast<std::size_t>(found - kProfiles.begin());
  }
  // After '@'.
  Range range() {
    const std::string_view text = word();
    const std::size_t dots = text.find("..");
    if (dots == std::string_view::npos) return {release(text), release(text)};
    const std::string_view from = text.substr(0, dots), to = text.substr(dots + 2);
    return {from.empty() ? kAll.first : release(from), to.empty() ? kAll.last : release(to)};
  }
  Attributes attributes() {
    Attributes found;
    while (true) {
      if (take("@")) {
        found.range = range();
      } else if (take("!")) {
        const std::string_view name = word();
        const bool limited = at_ < text_.size() && text_[at_] == '@' && take("@");
        found.features.push_back({name, limited ? range() : kAll});
      } else {
        return found;
      }
    }
  }

  TypeName type_name() {
    if (take("[")) {
      const std::string_view element = word();
      need("]");
      return {element, true};
    }
    skip_space();
    if (!text_.substr(at_).starts_with("{")) return {word()};
    const std::size_t begin = at_;
    Type anonymous{.form = Form::structure, .members = members()};
    anonymous.name = text_.substr(begin, at_ - begin);
    if (std::ranges::find(document_.types, anonymous.name, &Type::name) == document_.types.end())
      document_.types.push_back(anonymous);
    return {anonymous.name};
  }
  std::vector<Member> members() {
    std::vector<Member> list;
    for (need("{"); !take("}");) {
      Member member{.name = word(), .optional = take("?")};
      need(":");
      member.type = type_name();
      member.attributes = attributes();
      list.push_back(std::move(member));
    }
    return list;
  }
  std::vector<Value> values() {
    std::vector<Value> list;
    for (need("{"); !take("}");) {
      Value value{.name = word()};
      value.attributes = attributes();
      list.push_back(std::move(value));
    }
    return list;
  }
  std::vector<Branch> branches() {
    std::vector<Branch> list;
    for (need("{"); !take("}");) {
      const std::size_t first = list.size();
      do {
        Value tag{.name = word()};
        tag.attributes = attributes();
        list.push_back({std::move(tag), {}});
      } while (!take(":"));
      const TypeName type = type_name();
      for (std::size_t i = first; i < list.size(); ++i) list[i].type = type;
    }
    return list;
  }

  void parse_type(std::string_view keyword) {
    Type type{.form = keyword == "enum"        ? Form::enumeration
                      : keyword == "alternate" ? Form::alternate
                                               : Form::structure,
              .name = word()};
    expect(type.form != Form::structure || keyword == "struct" || keyword == "union",
           "command, event, undeclared, enum, struct, union or alternate");
    type.attributes = attributes();
    if (take(":")) type.base = word();
    if (type.form == Form::structure)
      type.members = members();
    else
      type.values = values();
    if (keyword == "union") {
      expect(word() == "by", "by");
      type.tag = word();
      type.branches = branches();
    }
    expect(std::ranges::find(document_.types, type.name, &Type::name) == document_.types.end(),
           "a type that is not there yet");
    document_.types.push_back(std::move(type));
  }

  void parse_undeclared() {
    const bool is_event = word() == "event";
    for (Value& value : values()) document_.undeclared.push_back({is_event, std::move(value)});
  }

  void parse_message(bool is_event) {
    Message message{.is_event = is_event, .name = word()};
    message.attributes = attributes();
    if (take("oob")) message.out_of_band = true;
    if (take("unchecked")) message.unchecked = take("@") ? range() : kAll;
    Attributes more = attributes();
    std::ranges::move(more.features, std::back_inserter(message.attributes.features));
    skip_space();
    if (take(":"))
      message.arguments = word();
    else if (at_ < text_.size() && text_[at_] == '{')
      message.arguments = type_of_arguments();
    if (take("->")) message.returns = type_name();
    document_.messages.push_back(std::move(message));
  }
  // A structure of one command, called by its text.
  std::string_view type_of_arguments() { return type_name().name; }

  std::string_view file_, text_;
  Document& document_;
  std::size_t at_ = 0;
};

}  // namespace

Document parse(std::span<const Text> texts) {
  Document document;
  for (const Text& text : texts) Parser(text, document).parse_all();
  return document;
}

}  // namespace sim::qmp::syntax
