// A release's QMP: its commands and events, what they take and give.  From the declarations come
// the checks of arguments, in QEMU's words and order, query-qmp-schema, and what is deprecated.

#pragma once

#include <deque>
#include <map>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/qmp/compat.h"
#include "sim/qmp/profile.h"
#include "sim/qmp/syntax.h"
#include "sim/qmp/type.h"

namespace sim::qmp {

class Schema {
 public:
  // Built when it is first asked for, once per process and release.  `profile` must be one of
  // kProfiles.
  static const Schema& of(const Profile& profile);

  // Null if the release has no such command (or event), or if it is not declared.
  const Message* command(std::string_view name) const { return find(name, false); }
  const Message* event(std::string_view name) const { return find(name, true); }
  bool has_command(std::string_view name) const { return command(name) != nullptr; }
  // True if QEMU has such a command, but it is not declared.
  bool is_undeclared(std::string_view command) const;
  // Names of all commands (or events) of the release, with those that are not declared.
  std::vector<std::string_view> names(bool of_events) const;
  // Commands and events, in the declared order.
  const std::vector<Message>& messages() const { return messages_; }

  // CommandNotFound if the command is not there, or disabled by policy; an error of our own if it
  // is not declared; otherwise the first mistake in its arguments (an object), as QEMU's input
  // visitor meets them.  Texts and order are measured on all releases
  // (real-qemu/differential/schema_texts_test.cc).
  Result<> check_arguments(std::string_view command, const Json& arguments,
                           const Compat& compat = {}) const;
  // The same with a command that was found.
  Result<> check_arguments(const Message& command, const Json& arguments,
                           const Compat& compat) const;
  // Checks a value of a declared type ("BlockdevOptions"); `name` is what error texts call it, and
  // stands before its members' names.
  Result<> check_type(std::string_view type, const Json& value, std::string_view name = {},
                      const Compat& compat = {}) const;

  // What query-qmp-schema returns; names of types are numbers, but not QEMU's numbers.
  Json introspection(const Compat& compat = {}) const;

  // Takes the members that a policy hides out of what a command returns or an event tells.
  void hide_output(const Type& type, Json& value, const Compat& compat) const;

  // A declared type; a name that is not there is our own bug.
  const Type& type(std::string_view name) const;

 private:
  Schema(const Profile& profile, std::size_t release);
  template <std::size_t release>
  static const Schema& built();
  static const syntax::Document& document();

  const Message* find(std::string_view name, bool is_event) const;
  Type& add(Kind kind, std::string_view name);
  void add_built_in();
  const Type* resolve(const syntax::TypeName& name);
  void fill(Type& type, const syntax::Type& declared);
  void fill_branches(Type& type, const syntax::Type& declared);
  Features features(const std::vector<syntax::Feature>& declared) const;
  bool in(const syntax::Attributes& attributes) const { return attributes.has(release_); }

  const Profile& profile_;
  const std::size_t release_;
  std::deque<Type> types_;
  std::map<std::string_view, Type*> by_name_;
  std::map<std::string_view, Type*> arrays_;  // by their elements' type
  std::map<std::string_view, const syntax::Type*> declared_;
  std::vector<Message> messages_;
  std::vector<const Message*> sorted_;  // by name
};

}  // namespace sim::qmp
