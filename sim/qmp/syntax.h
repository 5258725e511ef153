// The language in which QMP's commands, events and types are declared: what is written once in
// sim/qmp/declarations/*.qapi for all releases, and read here.
//
//   enum MirrorSyncMode { top full none incremental bitmap }
//   struct BlockdevOptionsThrottle { throttle-group: str, file: BlockdevRef }
//   struct BlockdevOptionsRaw: BlockdevOptionsGenericFormat { offset?: int, size?: int }
//   union SshHostKeyCheck { mode: SshHostKeyCheckMode } by mode { hash: SshHostKeyHash }
//   alternate StrOrNull { str null }
//   command block-commit { device: str, base?: str !deprecated } -> BlockJobInfo
//   command blockdev-add: BlockdevOptions
//   event JOB_STATUS_CHANGE { id: str, status: JobStatus }
//
// Members, values, tags of branches, commands and events may say in which releases they are, of
// those that we speak as: `@7.2..` from 7.2 on, `@..10.0` up to 10.0, `@7.2..10.0`, `@10.0` in that
// one only.  A member that changed stands there twice.  `?` marks what may be left out.  Then come
// features, each perhaps with releases of its own: `!deprecated`, `!unstable@7.2..`.
//
// A branch is there where its tag's value is; values without a branch add no members.  The type
// `{ data: T }` of a branch is a structure without a name; what stands behind a structure's colon
// is the one whose members come first.  Built in are str, bool, number, any, null, and the
// integers int, int32, uint16, uint32, uint64 and size (which has suffixes on command lines).  A
// command marked `unchecked` leaves its arguments to its handler; `oob` may be executed out of
// band.  `undeclared command { migrate }` only says that QEMU has such a command.  A comma is white
// space, '#' begins a comment.  The order of members and values is QEMU's (query-qmp-schema), the
// names are QAPI's.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace sim::qmp::syntax {

struct Text {
  std::string_view file, text;
};

// Compiled into the program; lives as long as it.
std::span<const Text> declarations();

// Releases, as indices of kProfiles, both included.
struct Range {
  std::size_t first, last;
  bool has(std::size_t release) const { return first <= release && release <= last; }
};

struct Feature {
  std::string_view name = {};
  Range range;
};

struct Attributes {
  std::optional<Range> range = {};  // none given: everywhere
  std::vector<Feature> features = {};
  bool has(std::size_t release) const { return !range || range->has(release); }
};

struct TypeName {
  std::string_view name = {};  // empty: nothing
  bool is_array = false;
};

struct Member {
  std::string_view name = {};
  bool optional = {};
  TypeName type = {};
  Attributes attributes = {};
};

struct Value {  // of an enumeration; tag of a branch; alternative
  std::string_view name = {};
  Attributes attributes = {};
};

struct Branch {
  Value tag;
  TypeName type = {};
};

enum class Form : unsigned char { structure, enumeration, alternate };

struct Type {
  Form form;
  std::string_view name = {};
  Attributes attributes = {};
  std::string_view base = {};
  std::vector<Member> members = {};
  std::string_view tag = {};  // empty if it has no branches
  std::vector<Branch> branches = {};
  std::vector<Value> values = {};  // of an enumeration, or the types of an alternate
};

// A command or an event.
struct Message {
  bool is_event;
  std::string_view name = {};
  Attributes attributes = {};
  bool out_of_band = false;
  std::optional<Range> unchecked = {};
  std::string_view arguments = {};  // a type; empty: none
  TypeName returns = {};
};

struct Undeclared {
  bool is_event;
  Value message;
};

struct Document {
  std::vector<Type> types;  // those without a name are called by their text, "{ data: Abort }"
  std::vector<Message> messages;
  std::vector<Undeclared> undeclared;
};

// Everything of the texts, which must outlive the document.  A mistake in them is our own bug.
Document parse(std::span<const Text> texts);

}  // namespace sim::qmp::syntax
