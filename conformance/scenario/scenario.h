// A scenario: a test as data.  What is here is one combination, after a matrix was expanded and
// every `${…}` but `${dir}` replaced.

#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "conformance/target/domain_api.h"
#include "conformance/target/domain_error.h"
#include "sim/base/json.h"

namespace conformance {

using sim::Json;

// A write into an image before the scenario starts, or by the guest in a step.
struct Write {
  enum class Kind : unsigned char { data, zero, discard };
  Kind kind = Kind::data;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint8_t pattern = 0;  // of kind data: every byte
  friend bool operator==(const Write&, const Write&) = default;
};

struct Image {
  std::string name;  // other images and disks refer to it by this
  std::string file;  // file name beneath ${dir}; default: the name
  enum class Format : unsigned char { raw, qcow2 } format = Format::qcow2;
  std::uint64_t size = 0;              // virtual size in bytes; 0 for raw makes an empty file
  std::uint64_t cluster_size = 65536;  // qcow2 only
  std::string backing;                 // name of another image, or empty
  std::string backing_name = {};       // how the header names it; empty: by its absolute path
  std::vector<Write> writes;           // in order, made through the image's own chain
  friend bool operator==(const Image&, const Image&) = default;
};

struct Disk {
  std::string target;  // "vda"
  std::string source;  // name of the active image
  friend bool operator==(const Disk&, const Disk&) = default;
};

// What a call must answer.
struct CallExpectation {
  std::optional<DomainError> error;  // nothing: the call succeeds
  friend bool operator==(const CallExpectation&, const CallExpectation&) = default;
};

// A libvirt API call.
struct CallStep {
  enum class Api : unsigned char {
    block_rebase,
    block_job_abort,
    block_job_set_speed,
    block_pull,
    block_commit,
    // As proposed, in 2011; libvirt never had them.
    pull,
    pull_all,
    pull_info,
    pull_abort
  };
  Api api = Api::block_rebase;
  std::string disk;
  // A path with ${dir}, a name, "vda[2]", or with "base-xml" a document; nothing is NULL.
  std::optional<std::string> base;
  std::optional<std::string> top = {};  // of blockCommit, the same
  std::uint64_t bandwidth = 0;
  std::optional<std::uint64_t> cursor = {};  // of pull, in bytes; nothing is NULL
  std::vector<std::string> flags;         // "copy", "shallow", "reuse-ext", "copy-raw", "copy-dev",
                                          // "relative", "bandwidth-bytes", "base-xml"; "pivot",
                                          // "async"; "delete", "active"; "continuous"
  std::optional<CallExpectation> expect;  // nothing: whatever the model demands
};

// A QMP command, past the domain layer.
struct QmpStep {
  std::string command;
  Json arguments;              // null: none
  std::optional<Json> expect;  // each member given must be in the reply with that value
};

// What the guest does.
struct GuestStep {
  enum class Operation : unsigned char { write, zero, discard, flush, read };
  Operation operation = Operation::write;
  std::string disk;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint8_t pattern = 0;          // write: what; read: what every byte must be
  std::optional<std::string> error;  // the request fails, and what it says holds this
};

// Waits for a block job event of a disk, or for a QMP event.
struct WaitStep {
  std::string disk;    // with `status`: a BLOCK_JOB event
  std::string status;  // "ready", "completed", "canceled", "failed"
  std::string event;   // else the name of a QMP event …
  Json data;           // … and the members its data must have
};

// Compares the target with the model now; the same is done after the last step.  Members given
// are compared with what is written here as well.
struct CheckStep {
  std::string disk;
  std::optional<std::string> guest;               // guest view: "1*64k 9*64k 0*896k"
  std::optional<std::vector<std::string>> chain;  // file names, top first
};

// Lets a coming request to a file fail.
struct FaultStep {
  std::string on;              // a disk's target (its active image), or a file in ${dir}
  std::string op;              // "read", "write", "discard", "flush", "grow"
  std::uint64_t nth = 1;       // the first to fail, counted from this step on
  std::string number = "EIO";  // or "ENOSPC"
  bool lasting = false;        // so do all after it
};

// The power goes: which of the changes that were not flushed are lost is drawn from the seed.  The
// last step.  Afterwards the files must be intact but for leaks, and hold what was flushed.
struct PowerCutStep {};

// Waits until no job of the hypervisor moves any more: each is paused, ready, waiting for others of
// its transaction, pending, concluded, or held back by its speed.  In transcript scenarios only.
struct RestStep {};

struct Step {
  std::variant<CallStep, QmpStep, GuestStep, WaitStep, CheckStep, FaultStep, PowerCutStep, RestStep>
      action;
  std::string place;  // JSON pointer into the file, for messages
};

// How the files of a transcript scenario are compared at the end.
enum class FileComparison : std::uint8_t { bytes, content, none };

struct Scenario {
  std::string id;             // "matrix/block-copy/src=raw/full/dest=absent/pivot/write=none"
  std::string file;           // where it was read from
  std::string title;          // one sentence
  std::string because;        // its source: where the rule is written
  std::vector<Image> images;  // backing images before those that use them
  std::vector<Disk> disks;
  std::vector<Step> steps;
  Dialect dialect = Dialect::as_libvirt;
  std::string since;  // the first release that it is for; empty: all
  FileComparison files = FileComparison::bytes;

  // Without disks there is no domain and nothing is predicted: targets of the same release are
  // compared with each other, by their transcripts and files.
  bool is_transcript() const {
    return disks.empty() && !steps.empty() && std::ranges::all_of(steps, [](const Step& step) {
             return std::holds_alternative<QmpStep>(step.action) ||
                    std::holds_alternative<WaitStep>(step.action) ||
                    std::holds_alternative<RestStep>(step.action);
           });
  }
};

// Combinations that a matrix left out, and why: "matrix/block-copy/src=raw/*/dest=…/*/*", with "*"
// for every axis that does not matter.
struct Excluded {
  std::string id;
  std::string because;
};

}  // namespace conformance
