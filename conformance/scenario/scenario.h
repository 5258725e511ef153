// A scenario: a test as data.  What is here is one combination, after a matrix was expanded and
// every `${…}` but `${dir}` replaced.

#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "conformance/target/domain_api.h"
#include "conformance/target/domain_error.h"
#include "conformance/target/leases.h"
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
  std::string passphrase = {};         // qcow2 only: its data is encrypted (LUKS); empty: it is not
  std::vector<Write> writes;           // in order, made through the image's own chain
  friend bool operator==(const Image&, const Image&) = default;
};

struct Disk {
  std::string target;  // "vda"
  std::string source;  // name of the active image
  friend bool operator==(const Disk&, const Disk&) = default;
};

// Somebody besides the domain who uses an image file, as long as the scenario lasts.
struct OtherLease {
  std::string file;    // its name beneath ${dir}; it need not exist
  std::string holder;  // "pool"
  LeaseMode mode = LeaseMode::shared;
  friend bool operator==(const OtherLease&, const OtherLease&) = default;
};

// What a call must answer.
struct CallExpectation {
  std::optional<DomainError> error;  // nothing: the call succeeds
  friend bool operator==(const CallExpectation&, const CallExpectation&) = default;
};

// Where a blockCopy goes: what its <disk> document says.
struct CopyDestination {
  enum class Format : unsigned char { unsaid, raw, qcow2 };
  // <backingStore type='file'> with <source> and <format>.
  struct Layer {
    std::string file;  // path with ${dir}
    Image::Format format = Image::Format::qcow2;
    friend bool operator==(const Layer&, const Layer&) = default;
  };
  std::string path;                // <source file> or, with `is_device`, <source dev>
  bool is_device = false;          // type='block'
  Format format = Format::unsaid;  // <driver type>
  std::vector<Layer> backing;      // top first
  bool terminated = false;         // an empty <backingStore/> ends it
  std::string xml;                 // the document itself, with ${dir}; nothing else is set then
  friend bool operator==(const CopyDestination&, const CopyDestination&) = default;
};

// What a snapshotCreateXML asks for: its <domainsnapshot> document.
struct SnapshotDocument {
  struct OfDisk {
    std::string disk;      // target, or path of its active image with ${dir}
    std::string snapshot;  // "no", "internal", "external", "manual"; empty: not said
    std::string file;      // <source file>, with ${dir}
    std::string format;    // <driver type>: "raw", "qcow2"; empty: not said
    friend bool operator==(const OfDisk&, const OfDisk&) = default;
  };
  std::optional<std::vector<OfDisk>> disks;  // nothing: no <disks>
  std::string memory;                        // "no", "internal", "external"; empty: not said
  std::string xml;  // the document itself, with ${dir}; nothing else is set then
  friend bool operator==(const SnapshotDocument&, const SnapshotDocument&) = default;
};

// A libvirt API call.
struct CallStep {
  enum class Api : unsigned char {
    block_rebase,
    block_job_abort,
    block_job_set_speed,
    block_pull,
    block_commit,
    block_copy,
    // As proposed, in 2011; libvirt never had them.
    pull,
    pull_all,
    pull_info,
    pull_abort,
    // Of the domain, not of a disk.
    snapshot_create,
    snapshot_delete,
    snapshot_revert
  };
  Api api = Api::block_rebase;
  std::string disk;
  // A path with ${dir}, a name, "vda[2]", or with "base-xml" a document; nothing is NULL.
  std::optional<std::string> base;
  std::optional<std::string> top = {};       // of blockCommit, the same
  CopyDestination destination = {};          // of blockCopy
  std::string name = {};                     // of snapshot calls, which have no disk
  SnapshotDocument snapshot = {};            // of snapshotCreateXML
  std::uint64_t bandwidth = 0;               // of blockCopy: bytes/s
  std::uint32_t granularity = 0;             // of blockCopy, bytes; 0 is not given
  std::uint64_t buf_size = 0;                // the same
  std::optional<std::uint64_t> cursor = {};  // of pull, in bytes; nothing is NULL
  std::vector<std::string> flags;         // "copy", "shallow", "reuse-ext", "copy-raw", "copy-dev",
                                          // "relative", "bandwidth-bytes", "base-xml"; "pivot",
                                          // "async"; "delete", "active"; "transient-job",
                                          // "synchronous-writes"; "continuous"
  std::optional<CallExpectation> expect;  // nothing: whatever the model demands
};
// Those that only as-proposed has.
constexpr bool is_proposed(CallStep::Api api) {
  return api >= CallStep::Api::pull && api <= CallStep::Api::pull_abort;
}
// Those that have a snapshot's name and no disk.
constexpr bool is_snapshot_call(CallStep::Api api) { return api >= CallStep::Api::snapshot_create; }

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
  std::optional<std::string> guest;                             // guest view: "1*64k 9*64k 0*896k"
  std::optional<std::vector<std::string>> chain;                // file names, top first
  std::optional<std::map<std::string, std::string>> snapshots;  // to their parents; "" is none
  std::optional<std::string> current;                           // snapshot; "" is none
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
  bool persistent = false;  // the domain has a definition that outlives it
  CopyRecipe recipe = CopyRecipe::blockdev;
  // Given, even if empty: there is a lock manager, which libvirt 9.0 has not as it comes.
  std::optional<std::vector<OtherLease>> leases = {};
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
