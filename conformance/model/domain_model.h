// The oracle of virDomainBlockRebase, BlockCopy, BlockPull, BlockCommit, BlockJobAbort and
// BlockJobSetSpeed.
//
// A DomainModel is a value.  Describe the directory and the disks (add_image for every file, then
// add_disk), and then do to the model what is done to the target, in the same order: block_rebase,
// on_ready when the READY event has been seen, on_completed when a pull or a commit has,
// guest_write and its sisters, block_job_abort.  Each call answers with what the target must
// answer, and afterwards events(), files(), chain() and guest_view() say what must be true.  While
// a job exists its destination is `in_use` and is not to be compared.  A prediction with `unknown`
// set is none: the model has nothing to say about that request (and does nothing), so the scenario
// must not be judged by it.
//
// Files are named by plain names; paths are built with `directory`, which is whatever stands for
// ${dir}: give Files::directory(), or "${dir}" itself and resolve later.

#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conformance/model/layer.h"
#include "conformance/model/mirror.h"

namespace conformance::model {

// libvirt's ABI, as in conformance/target/domain_api.h (which the model may not know).
enum RebaseFlag : std::uint32_t {
  kShallow = 1U << 0,
  kReuseExt = 1U << 1,
  kCopyRaw = 1U << 2,
  kCopy = 1U << 3,
  kRelative = 1U << 4,
  kCopyDev = 1U << 5,
  kBandwidthBytes = 1U << 6,
  kBaseXml = 1U << 16,  // as proposed
};
enum PullFlag : std::uint32_t { kContinuous = 1U << 0 };  // as proposed
enum CommitFlag : std::uint32_t {
  kCommitShallow = 1U << 0,
  kCommitDelete = 1U << 1,
  kCommitActive = 1U << 2,
  kCommitRelative = 1U << 3,
  kCommitBandwidthBytes = 1U << 4,
};
enum CopyFlag : std::uint32_t {
  kCopyShallow = 1U << 0,
  kCopyReuseExt = 1U << 1,
  kCopyTransientJob = 1U << 2,
  kCopySynchronousWrites = 1U << 3,
};
enum AbortFlag : std::uint32_t { kAsync = 1U << 0, kPivot = 1U << 1 };

// What block_copy's document says of the destination.
struct CopyDestination {
  struct Layer {
    std::string path;
    Format format = Format::qcow2;
  };
  std::string path;
  bool is_device = false;             // of type block
  std::optional<Format> format = {};  // nothing: not said
  std::vector<Layer> backing = {};    // top first
  bool terminated = false;            // an empty <backingStore/> ends it
  bool says_backing() const { return terminated || !backing.empty(); }
};
// Typed parameters; 0 is not given.
struct CopyParameters {
  std::uint64_t bandwidth = 0;    // bytes/s
  std::uint32_t granularity = 0;  // bytes
  std::uint64_t buf_size = 0;     // bytes
};

enum SnapshotCreateFlag : std::uint32_t {
  kSnapshotRedefine = 1U << 0,
  kSnapshotCurrent = 1U << 1,
  kSnapshotNoMetadata = 1U << 2,
  kSnapshotHalt = 1U << 3,
  kSnapshotDiskOnly = 1U << 4,
  kSnapshotReuseExt = 1U << 5,
  kSnapshotQuiesce = 1U << 6,
  kSnapshotAtomic = 1U << 7,
  kSnapshotLive = 1U << 8,
  kSnapshotValidate = 1U << 9,
};
enum SnapshotDeleteFlag : std::uint32_t {
  kDeleteChildren = 1U << 0,
  kDeleteMetadataOnly = 1U << 1,
  kDeleteChildrenOnly = 1U << 2,
};
enum SnapshotRevertFlag : std::uint32_t {
  kRevertRunning = 1U << 0,
  kRevertPaused = 1U << 1,
  kRevertForce = 1U << 2,
  kRevertResetNvram = 1U << 3,
};

// What a <domainsnapshot> says.
enum class SnapshotMode : std::uint8_t { unsaid, none, internal, external, manual };
struct SnapshotRequest {
  struct OfDisk {
    std::string disk;  // target, or path of its active image
    SnapshotMode mode = SnapshotMode::unsaid;
    std::string path = {};  // of the overlay; empty: libvirt makes up its name
    std::optional<Format> format = {};
  };
  std::string name;
  SnapshotMode memory = SnapshotMode::unsaid;
  std::vector<OfDisk> disks;
};
struct SnapshotExpectation {
  std::string name;
  std::string parent;  // empty: a root
  bool current = false;
  friend bool operator==(const SnapshotExpectation&, const SnapshotExpectation&) = default;
};

// virErrorPtr by name, message without libvirt's class text.
struct Refusal {
  std::string domain;
  std::string code;
  std::string message;
  friend bool operator==(const Refusal&, const Refusal&) = default;
};

// What becomes of an accepted job if nobody interferes.  "READY" is COMPLETED for a pull and for a
// commit of layers that are not active.
enum class Course : std::uint8_t {
  fails,    // event FAILED, the destination is untouched, the job is gone
  ready,    // event READY, soon
  held,     // the bandwidth keeps it from READY for ever
  limited,  // READY when the bandwidth has let everything through, which may be never
};

// How far a pull has come, as proposed: bytes of the disk.
struct PullPosition {
  std::uint64_t cursor = 0;
  std::uint64_t end = 0;
  friend bool operator==(const PullPosition&, const PullPosition&) = default;
};

// A base as a document says it; index 0 and an empty format: not said.
struct BaseDocument {
  std::string path;
  unsigned index = 0;
  std::string format;
};

struct CallPrediction {
  std::optional<Refusal> refusal;             // nothing: the call succeeds
  std::optional<std::string> unknown;         // why the model has no opinion
  Course course = Course::ready;              // of an accepted job
  std::string job_error;                      // course fails: the job's error (7.2's text)
  std::optional<PullPosition> position = {};  // of pull and pull_info; nothing: not foreseen
  // Of an increment: nothing depends on the backing image any more, and the link goes.  Nothing:
  // that depends on where an interrupted job had come to.
  std::optional<bool> drops_backing = {};
  bool accepted() const { return !refusal && !unknown; }
};

// Somebody besides the domain who uses a file.
struct OtherLease {
  std::string file;    // name
  std::string holder;  // not "domain/…", as the domain's disks are called
  bool exclusive = false;
};

struct ImageSpec {
  std::string name;
  Format format = Format::qcow2;
  std::uint64_t size = 0;  // raw of size 0 is an empty file
  std::uint64_t cluster_size = 65536;
  int version = 3;
  std::string backing = {};         // name of an image added before, or empty
  std::string backing_string = {};  // what the header says; default: the absolute path
  std::optional<std::uint64_t> host_length = {};  // qcow2: the file's length, if known
  bool encrypted = false;                         // the data, within qcow2
};

// What must be true of one file.
struct FileExpectation {
  std::string name;
  bool unchanged = true;  // not one byte of it may differ from what add_image and fill described
  bool in_use = false;    // destination of a running job: nothing can be said
  // Written to by a job that was interrupted, and still open: what QEMU has not written back of its
  // tables shows as leaks.  (Up to 7.2 the base of an active commit; nothing flushes it.)
  bool may_leak = false;
  Layer layer;                      // format, size, cluster size, and what each place may be
  std::string backing_string = {};  // in the header; empty if none
  std::string backing_format = {};
  std::vector<std::string> cold_chain = {};  // by the headers, top first, itself included
  // What the layer was in each internal snapshot of the file, by name.
  std::map<std::string, Layer> snapshots = {};
  bool dangles = false;  // a header of the chain names a file that is gone: it cannot be opened
  bool encrypted = false;
};

struct ExpectedEvent {
  std::string disk;    // target name (BLOCK_JOB_2)
  std::string path;    // BLOCK_JOB
  std::string type;    // "COPY", "PULL", "COMMIT", "ACTIVE_COMMIT"
  std::string status;  // "READY", "COMPLETED", "CANCELED", "FAILED"
  friend bool operator==(const ExpectedEvent&, const ExpectedEvent&) = default;
};

struct ChainExpectation {
  struct Link {
    std::string path;
    std::string format;
    friend bool operator==(const Link&, const Link&) = default;
  };
  std::vector<Link> links;  // top first
  bool terminated = true;   // by an explicit <backingStore/>
  friend bool operator==(const ChainExpectation&, const ChainExpectation&) = default;
};

// <mirror> while a copy or an active commit exists.
struct MirrorExpectation {
  std::string path;
  std::string format;
  bool ready = false;
};

class DomainModel {
 public:
  // `as_proposed`: the API that the founding documents propose, beside libvirt's.
  explicit DomainModel(std::string directory, bool as_proposed = false)
      : directory_(std::move(directory)), as_proposed_(as_proposed) {}

  // --- before the domain starts -------------------------------------------------------------
  void add_image(const ImageSpec& spec);
  // What was written into an image, through its own chain, when it was made.
  void fill(const std::string& image, std::uint64_t offset, std::uint64_t length,
            std::uint8_t pattern);
  void fill_zeroes(const std::string& image, std::uint64_t offset, std::uint64_t length);
  void fill_discard(const std::string& image, std::uint64_t offset, std::uint64_t length);
  // A disk over an image and what its headers say is below; disks in the order of the domain XML.
  void add_disk(const std::string& target, const std::string& image, bool discard_unmap = false);
  // The domain has a definition that outlives it.
  void set_persistent() { persistent_ = true; }
  // Copies are made by drive-mirror (docs/model.md, 1.4b).
  void use_drive_recipe() { by_drive_ = true; }

  // From now on there is a lock manager, with which others hold these leases for ever.
  void use_lock_manager(std::vector<OtherLease> others);

  // --- libvirt's calls ----------------------------------------------------------------------
  // `base` nothing is NULL; bandwidth as the flags say.
  CallPrediction block_rebase(const std::string& disk, const std::optional<std::string>& base,
                              std::uint64_t bandwidth, std::uint32_t flags);
  CallPrediction block_copy(const std::string& disk, const CopyDestination& destination,
                            const CopyParameters& parameters, std::uint32_t flags);
  CallPrediction block_pull(const std::string& disk, std::uint64_t bandwidth, std::uint32_t flags);
  CallPrediction block_commit(const std::string& disk, const std::optional<std::string>& base,
                              const std::optional<std::string>& top, std::uint64_t bandwidth,
                              std::uint32_t flags);
  // The base as a document, as proposed; `flags` have kBaseXml.
  CallPrediction block_rebase_to(const std::string& disk, const BaseDocument& base,
                                 std::uint64_t bandwidth, std::uint32_t flags);
  // The pull as proposed.  Of an accepted increment on_pulled() must be told what came of it.
  CallPrediction pull(const std::string& disk, std::optional<std::uint64_t> cursor,
                      std::uint32_t flags);
  CallPrediction pull_all(const std::string& disk);
  CallPrediction pull_info(const std::string& disk);
  CallPrediction pull_abort(const std::string& disk);
  CallPrediction snapshot_create(const SnapshotRequest& request, std::uint32_t flags);
  CallPrediction snapshot_delete(const std::string& name, std::uint32_t flags);
  CallPrediction snapshot_revert(const std::string& name, std::uint32_t flags);
  // Whether the job is ready is what on_ready() was told.
  CallPrediction block_job_abort(const std::string& disk, std::uint32_t flags);
  CallPrediction block_job_set_speed(const std::string& disk, std::uint64_t bandwidth,
                                     std::uint32_t flags);

  // --- what happens otherwise ---------------------------------------------------------------
  // The READY event was seen, or is now awaited.  Not before the course allows it.
  void on_ready(const std::string& disk);
  // The increment that was just accepted answered that the link goes, or that it does not.
  void on_pulled(const std::string& disk, bool drops_backing);
  // The COMPLETED event of a pull, or of a commit that needs no pivot, was seen.
  void on_completed(const std::string& disk);
  void guest_write(const std::string& disk, std::uint64_t offset, std::uint64_t length,
                   std::uint8_t pattern);
  void guest_zero(const std::string& disk, std::uint64_t offset, std::uint64_t length);
  void guest_discard(const std::string& disk, std::uint64_t offset, std::uint64_t length);
  // What the guest did to the disk since `before` was taken of it failed: each place may be as it
  // was then, or as it was meant to be.
  Layer active_layer(const std::string& disk) const;
  void guest_failed(const std::string& disk, const Layer& before);

  // --- what must be true now ----------------------------------------------------------------
  bool has_disk(const std::string& target) const;
  bool has_job(const std::string& disk) const;
  bool ready(const std::string& disk) const;
  // There is a job, and it needs no pivot.
  bool ends_by_itself(const std::string& disk) const;
  std::optional<Course> course(const std::string& disk) const;  // of the running job
  View guest_view(const std::string& disk) const;
  // What a file shows by its headers, opened cold.
  View cold_view(const std::string& file) const;
  ChainExpectation chain(const std::string& disk) const;
  // The files that the disk holds a lease of, and whether exclusively.
  using HeldLeases = std::map<std::string, bool>;
  HeldLeases leases(const std::string& disk) const;
  std::optional<MirrorExpectation> mirror(const std::string& disk) const;
  // Every file of the directory, by name; a file that is not here must not exist.
  std::vector<FileExpectation> files() const;
  std::vector<SnapshotExpectation> snapshots() const;  // names in ascending order
  // All BLOCK_JOB events of the domain so far, in order.
  const std::vector<ExpectedEvent>& events() const { return events_; }
  // JOB_STATUS_CHANGE of each job id that a disk has had, in order, without the standby/ready and
  // paused/running pairs of drains.  Jobs after one another may have the same id.
  using JobStatuses = std::map<std::string, std::vector<std::string>>;
  const JobStatuses& job_statuses(const std::string& disk) const;
  // The newest: "copy-vda-libvirt-1-format"; empty if there was none.
  std::string job_id(const std::string& disk) const;

 private:
  struct File {
    Layer layer;
    std::string backing;  // file name
    std::string backing_string;
    std::string backing_format;
    std::optional<std::uint64_t> host_length;
    bool unchanged = true;
    bool may_leak = false;
    std::map<std::string, Layer> snapshots = {};
    bool encrypted = false;  // what QEMU makes anew never is
  };
  struct Link {
    std::string file;
    unsigned index = 0;    // N of libvirt-N-format
    std::string relative;  // its name in the header above when that was read, if relative
  };
  // What lies beneath a destination.
  struct Beneath {
    std::vector<Link> links;  // as libvirt knows it, top first
    bool terminated = true;   // by an explicit <backingStore/>
    // What QEMU opens beneath the last of them by itself, because nobody has told libvirt.
    std::vector<std::string> hidden;
  };
  enum class JobKind : std::uint8_t { copy, pull, commit, active_commit };
  struct Job {
    JobKind kind = JobKind::copy;
    std::string destination;  // the file that it writes to
    Format format = Format::raw;
    // Of a pull or commit: the links [first, base) of the disk go.
    std::size_t first = 0;
    std::size_t base = 0;
    bool removes = false;            // their files, too
    std::string base_name;           // for the header above them
    Layer finished{Format::raw, 0};  // the destination of one that does not mirror, when it is done
    bool mirrors() const { return kind == JobKind::copy || kind == JobKind::active_commit; }
    MirrorRun run;
    std::uint64_t speed = 0;  // bytes/s; 0 is no limit
    Course course = Course::ready;
    bool disturbed = false;  // the guest has written before READY
    bool ready = false;
    // Of a copy.
    bool writes_through = false;  // the guest's writes go to the destination at once
    bool keeps_beneath = false;   // at a pivot, what lies beneath the disk's image
    Beneath beneath;              // else what lies beneath the destination then
    bool attached = false;        // and already does
    bool is_alone = false;        // nothing lies beneath its node before the pivot
    unsigned index = 0;           // N of the destination's nodes
  };
  struct Disk {
    std::string target;
    std::vector<Link> links;  // live, top first
    bool terminated = true;
    std::vector<std::string> hidden;  // as Beneath's
    bool discard_unmap = false;
    std::optional<Job> job;
    std::optional<PullPosition> pulled;  // by increments, until the link goes
    JobStatuses statuses;
    std::string job_id;
    // The job of that id comes to these statuses.
    void pass(std::initializer_list<const char*> more) {
      std::vector<std::string>& all = statuses[job_id];
      all.insert(all.end(), more.begin(), more.end());
    }
  };
  // A node of the tree of snapshots.
  struct Snapshot {
    struct OfDisk {
      SnapshotMode mode = SnapshotMode::none;
      std::string overlay;  // file
      std::string source;   // the disk's active file when it was made
    };
    std::string parent;
    std::map<std::string, OfDisk> disks;  // by target
    bool is_external() const;
  };
  struct Merge {  // of an overlay into what is beneath it
    Disk* disk = nullptr;
    std::size_t link = 0;
  };
  struct Request;  // one copy on its way through libvirt's checks
  // Which link of a disk a name means, or what is answered.
  struct Found {
    std::size_t link = 0;
    CallPrediction otherwise;  // accepted(): found
  };

  Disk* find(const std::string& name);
  const Disk& disk(const std::string& target) const;
  Disk& disk(const std::string& target);
  std::string path(const std::string& file) const { return directory_ + "/" + file; }
  LayerChain live_chain(const Disk& disk, std::size_t from = 0) const;
  LayerChain attached_to_copy(const Disk& disk) const;
  std::vector<std::string> header_chain(const std::string& file) const;
  // The chain by the headers ends at a file that was removed.
  bool dangles(const std::string& file) const;
  LayerChain layers_of(const std::vector<std::string>& files) const;
  bool opened(const std::string& file) const;
  CallPrediction copy(const std::string& disk, Request request);
  std::optional<std::string> name_in_directory(const std::string& path) const;
  std::optional<Refusal> check_destination(const Request& request) const;
  std::optional<CallPrediction> check_as_proposed(const Request& request) const;
  static bool has_chain_of_its_own(const Request& request);
  std::optional<CallPrediction> refuse_leased_copy(const Request& request) const;
  std::optional<std::string> without_opinion(const Request& request) const;
  std::optional<std::string> strange_backing(const Request& request) const;
  bool headers_agree(const Disk& disk, std::size_t from) const;
  Beneath beneath_destination(const Request& request, unsigned index) const;
  CallPrediction start_copy(const Request& request);
  std::optional<CallPrediction> refuse_to_open(const Request& request);
  CallPrediction refuse_locked(const Request& request);
  void make_destination(const Request& request);
  HeldLeases leases_of(const Disk& disk, const Job* job) const;
  // With a lock manager that has others in the way of this job.
  std::optional<CallPrediction> refuse_leased(const Disk& disk, const Job& job) const;
  std::string new_copy_id(const Disk& disk) const;
  // The links of an image and what its headers say is below, numbered from `index` on.
  void append_chain(std::vector<Link>& links, const std::string& image, unsigned index) const;
  CallPrediction rebase(const std::string& disk, const std::optional<std::string>& base,
                        std::uint64_t bandwidth, std::uint32_t flags);
  // Among the links from `from` on.
  Found find_link(const Disk& disk, std::size_t from, const std::string& name) const;
  std::optional<std::string> relative_name(const Disk& disk, std::size_t from,
                                           std::size_t to) const;
  std::optional<CallPrediction> check_commit(const Disk& disk, std::size_t top, std::size_t base,
                                             std::uint32_t flags) const;
  bool used_elsewhere(const Disk& disk, std::size_t first, std::size_t last) const;
  CallPrediction start_pull(Disk& disk, std::size_t base, const std::string& base_name,
                            std::uint64_t speed);
  std::optional<std::string> strange_commit(const Disk& disk, std::size_t top,
                                            std::size_t base) const;
  CallPrediction start_commit(Disk& disk, const Job& job);
  CallPrediction start_active_commit(Disk& disk, const Job& job);
  LayerChain chain_between(const Disk& disk, std::size_t first, std::size_t last) const;
  void name_base(const Disk& disk, const Job& job);
  void drop_links(Disk& disk, const Job& job);
  void emit(const Disk& disk, JobKind kind, const std::string& status);
  void end_job(Disk& disk);
  // snapshots.cc
  std::optional<CallPrediction> plan_snapshot(const SnapshotRequest& request, std::uint32_t flags,
                                              Snapshot& plan);
  std::optional<CallPrediction> check_snapshot_of(const Disk& disk, const Snapshot& plan,
                                                  std::uint32_t flags);
  std::optional<CallPrediction> make_overlays(const Snapshot& plan, bool reuse);
  void save_state(const std::string& name);
  std::vector<std::string> descendants_of(const std::string& name) const;
  std::optional<CallPrediction> check_delete(const std::string& name, std::uint32_t flags);
  std::optional<CallPrediction> plan_merges(const std::string& name, std::vector<Merge>& merges);
  std::optional<CallPrediction> merge(const std::string& name);
  void discard_snapshot(const std::string& name);
  // Up to 7.2 everything is drained where a job of another disk begins or ends, which lets a job go
  // on that its speed holds.
  void wake_others(const Disk& disk);
  void pivot(Disk& disk);
  template <class Change>
  void guest(const std::string& target, std::uint64_t offset, std::uint64_t length, Change change);

  std::string directory_;
  bool as_proposed_ = false;
  bool persistent_ = false;
  bool by_drive_ = false;
  std::map<std::string, File> files_;
  std::vector<Disk> disks_;
  std::optional<std::vector<OtherLease>> others_;  // nothing: there is no lock manager
  std::vector<ExpectedEvent> events_;
  unsigned next_index_ = 1;
  std::map<std::string, Snapshot> snapshots_;
  std::string current_snapshot_;
};

}  // namespace conformance::model
