// A domain on any hypervisor: libvirt 9.0's calls, errors and events as a layer over QMP.
//
// It sends the commands that libvirt 9.0.0 was seen to send, in its order, and acts as libvirt does
// on JOB_STATUS_CHANGE only (facts with their sources: testdata/libvirt_9_0_block_copy_qmp.json and
// libvirt_9_0_jobs_qmp.json).
//
// Events of the hypervisor are taken at the start of every call that may talk to it and while one
// waits; chain() and mirror() answer what was known then, so what a test sees just after an
// asynchronous call does not depend on speed.  A Domain consumes every event of its hypervisor.
//
// In the dialect as-proposed it has what the founding documents of 2011 and 2012 propose beyond
// that, too: *_as_proposed.cc.
//
// Left out: bitmaps of the user (libvirt merges them into a copy), names of backing files that are
// not files (json:, nbd:), and readonly disks.

#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/domain/snapshot_tree.h"
#include "conformance/domain/source.h"
#include "conformance/domain/xml/snapshot.h"
#include "conformance/domain/xml/storage_source.h"
#include "conformance/target/domain_api.h"
#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"
#include "conformance/target/labels.h"
#include "conformance/target/leases.h"

namespace conformance {

// virDomainBlockJobInfo.
struct BlockJobInfo {
  std::string type;             // as BlockJobEvent::type
  std::uint64_t bandwidth = 0;  // MiB/s rounded up, or bytes/s if asked for
  std::uint64_t cur = 0;
  std::uint64_t end = 0;
};
// virDomainBlockJobInfoFlags.
enum BlockJobInfoFlag : std::uint32_t { kInfoBandwidthBytes = 1U << 0 };

class Domain final : public DomainApi {
 public:
  // Reads each disk's chain from the images' headers, adds its nodes from the bottom up, and plugs
  // one virtio-blk-pci device per disk into a machine that has none.  Both ports outlive the
  // domain.  Where that fails, the hypervisor is of no use any more, and holds no leases.
  static DomainResult<std::unique_ptr<Domain>> start(Hypervisor& hypervisor, Files& files,
                                                     const DomainDefinition& definition);

  // Takes over a domain whose client has gone, wherever it was cut off: what has ended meanwhile is
  // finished, what was about to be aborted or pivoted still is, and what had not begun is undone,
  // its file included.  `status` is the last that was kept; a text that is no status is
  // XML/XML_ERROR.  It holds no passphrases, and none is needed: images that are open stay so.  Old
  // events of the hypervisor are dropped: query-jobs tells.
  static DomainResult<std::unique_ptr<Domain>> reconnect(
      Hypervisor& hypervisor, Files& files, const std::string& status,
      std::function<void(const std::string&)> keep_status = nullptr, LockManager* locks = nullptr,
      Labels* labels = nullptr);

  // The hypervisor has ended: gives back all leases and labels.
  void stopped();

  DomainResult<void> block_rebase(const std::string& disk, const std::optional<std::string>& base,
                                  std::uint64_t bandwidth, std::uint32_t flags) override;
  DomainResult<void> block_copy(const std::string& disk, const std::string& destination,
                                const BlockCopyParameters& parameters,
                                std::uint32_t flags) override;
  DomainResult<void> block_pull(const std::string& disk, std::uint64_t bandwidth,
                                std::uint32_t flags) override;
  DomainResult<void> block_commit(const std::string& disk, const std::optional<std::string>& base,
                                  const std::optional<std::string>& top, std::uint64_t bandwidth,
                                  std::uint32_t flags) override;
  // A client cut off in an increment leaves a node that reconnect() removes; where the increment
  // had come to is the caller's to know.
  DomainResult<PullPosition> pull(const std::string& disk, std::optional<std::uint64_t> cursor,
                                  std::uint32_t flags) override;
  DomainResult<void> pull_all(const std::string& disk) override;
  DomainResult<PullPosition> pull_info(const std::string& disk) override;
  DomainResult<void> pull_abort(const std::string& disk) override;
  DomainResult<void> block_job_abort(const std::string& disk, std::uint32_t flags) override;
  DomainResult<void> block_job_set_speed(const std::string& disk, std::uint64_t bandwidth,
                                         std::uint32_t flags) override;
  DomainResult<std::string> snapshot_create_xml(const std::string& xml,
                                                std::uint32_t flags) override;
  DomainResult<void> snapshot_delete(const std::string& name, std::uint32_t flags) override;
  // To an internal one: the hypervisor is started anew over the images of that time.
  DomainResult<void> snapshot_revert(const std::string& name, std::uint32_t flags) override;
  DomainResult<std::vector<SnapshotInfo>> snapshots() override;
  const SnapshotTree& snapshot_tree() const { return snapshots_; }
  // virDomainGetBlockJobInfo; nothing if the disk has no job.
  DomainResult<std::optional<BlockJobInfo>> block_job_info(const std::string& disk,
                                                           std::uint32_t flags);
  // `limit` is for each event of the hypervisor that has to be waited for.
  DomainResult<std::optional<BlockJobEvent>> next_event(std::chrono::milliseconds limit) override;
  DomainResult<Chain> chain(const std::string& disk) override;
  DomainResult<std::optional<MirrorState>> mirror(const std::string& disk) override;
  DomainResult<std::string> qdev(const std::string& disk) override;

 private:
  // libvirt's own states of a job (qemu_blockjob.h), as far as ours go through them.
  // The first and the last two are ours: what is about to begin, and what has ended but is not
  // cleared away.
  enum class JobState : unsigned char {
    starting,
    running,
    ready,
    pending,  // done but for job-finalize, which it waits for
    aborting,
    pivoting,
    succeeded,
    failed
  };
  enum class JobKind : unsigned char { copy, pull, commit, active_commit };
  struct Job {
    JobKind kind = JobKind::copy;
    std::string id;  // "copy-vda-libvirt-1-format"
    JobState state = JobState::running;
    // Of a copy.
    bool shallow = false;  // and the source had something beneath
    bool reuse = false;
    bool hung = false;  // what is beneath a reused mirror was attached to it
    std::unique_ptr<Source> mirror;
    // Of the others: the images from `top` to the one above `base` go; both are of the disk's
    // chain.  A pull's `top` is the first that it goes through, and its `base` may be null: all go.
    Source* top = nullptr;
    Source* base = nullptr;
    bool removes = false;  // their files, too
    bool waits = false;    // for job-finalize before it ends

    bool aborted = false;

    // A copy or an active commit, which become ready and can be pivoted.
    bool mirrors() const { return kind == JobKind::copy || kind == JobKind::active_commit; }
    // What the guest will use after a pivot.  Only if mirrors().
    Source& target() const { return kind == JobKind::copy ? *mirror : *base; }
    const char* type() const;  // as BlockJobEvent::type
  };
  // How a job that is gone went.
  struct JobEnd {
    bool failed = false;
    std::string error;  // query-jobs' "error"; may be empty
  };
  struct Disk {
    std::string target;
    std::string alias;  // "virtio-disk0"
    std::unique_ptr<Source> source;
    std::optional<Job> job;
    JobEnd last_end;                       // of the job before
    std::unique_ptr<Source> overlay = {};  // that a snapshot is about to make active
    bool overlay_is_new = false;           // its file is ours
    // Where the last increment of a pull ended, until the link is dropped or the pull given up.
    std::optional<PullPosition> pulled = {};
    bool pull_filter = false;  // the node through which an increment is read may be there
    std::string pull_node() const { return "understudy-pull-" + target; }
  };
  struct CopyRequest {
    std::string path;
    std::string format;       // empty: not said
    std::uint64_t speed = 0;  // bytes/s; 0 is unlimited
    bool shallow = false;
    bool reuse = false;
    bool block_device = false;
    std::uint32_t granularity = 0;  // 0: not said
    std::uint64_t buffer = 0;
    bool write_blocking = false;
    bool transient_job = false;
    xml::Backing backing = {};  // what lies beneath, if it was said
    // A destination that is a volume of a pool, which nobody translates into a path.
    struct Volume {
      std::string pool, name;
    };
    std::optional<Volume> volume = {};
  };
  // A disk whose overlay is to be committed into what is beneath it.
  struct Merge {
    Disk* disk = nullptr;
    Source* overlay = nullptr;
  };
  // What QEMU says of a node, in bytes.
  struct Sizes {
    std::uint64_t capacity = 0;
    std::uint64_t cluster = 0;  // 0: it has none
  };

  Domain(Hypervisor& hypervisor, Files& files) : hypervisor_(hypervisor), files_(files) {}

  // domain.cc
  DomainResult<void> add_disks(const std::vector<DiskDefinition>& definitions);
  // Its nodes and its device.
  DomainResult<void> plug(Disk& disk);
  DomainResult<Disk*> find(const std::string& disk);
  // The reply's "return"; QEMU's refusal as libvirt wraps it.
  DomainResult<Json> execute(std::string_view command, const Json& arguments);
  // The same where libvirt does not look at the answer.
  DomainResult<void> execute_ignoring(std::string_view command, const Json& arguments);
  void number(Source& top);
  DomainResult<void> attach_storage(Source& source);
  // The secret object with the image's passphrase.
  DomainResult<void> attach_secret(Source& source);
  // `backing` null: opened with "backing": null, where the format can have one; what QEMU finds in
  // the header if nobody knows what lies beneath.
  DomainResult<void> attach_format(Source& source, const Source* backing, bool read_only);
  DomainResult<void> attach_chain(Source& top, bool read_only);
  // Removes the nodes of this one image, format before storage, then its secret, ignoring refusals.
  DomainResult<void> detach(const Source& source);
  // The same for a whole chain, which can then be attached again.
  DomainResult<void> detach_chain(Source& top);

  // block_pull.cc
  DomainResult<void> rebase(const std::string& disk, const std::optional<std::string>& base,
                            std::uint64_t bandwidth, std::uint32_t flags);
  DomainResult<void> start_pull(Disk& disk, Source* base, const std::string& base_name,
                                std::uint64_t speed);
  // Sends the command that starts the job, with what all of them have in common.  `speed` in
  // bytes/s, 0 is none.
  DomainResult<void> start_job(Disk& disk, Job job, std::string_view command, const Json& nodes,
                               std::uint64_t speed);

  // block_pull_as_proposed.cc
  DomainResult<void> pull_increment(Disk& disk, std::uint64_t offset, std::uint64_t length);
  DomainResult<bool> depends_on_backing(const Disk& disk, std::uint64_t size);

  // base_as_proposed.cc
  static DomainResult<Source*> find_base(Disk& disk, const std::string& document);

  // destination_as_proposed.cc
  DomainResult<void> check_as_proposed(const Disk& disk, const CopyRequest& request) const;

  // block_commit.cc
  struct CommitRequest {
    Source* top = nullptr;
    Source* base = nullptr;  // null only with kCommitShallow: nothing is beneath the top
    std::uint64_t speed = 0;
    std::uint32_t flags = 0;
  };
  static DomainResult<CommitRequest> find_layers(const Disk& disk,
                                                 const std::optional<std::string>& base,
                                                 const std::optional<std::string>& top,
                                                 std::uint32_t flags);
  static DomainResult<void> check_layers(const Disk& disk, const CommitRequest& request);
  // `waits`: the job does not end before job-finalize.
  DomainResult<void> start_commit(Disk& disk, const CommitRequest& request, bool waits = false);

  // snapshot_create.cc
  DomainResult<Snapshot> plan_snapshot(const xml::SnapshotXml& request, std::uint32_t flags);
  // `request` null: the disk is not named in the document.
  static DomainResult<SnapshotDiskRecord> plan_disk(const Disk& disk,
                                                    const xml::SnapshotDisk* request,
                                                    const Snapshot& snapshot);
  DomainResult<void> check_disk(const Disk& disk, const SnapshotDiskRecord& plan,
                                const Snapshot& snapshot, std::uint32_t flags) const;
  DomainResult<void> redefine(const xml::SnapshotXml& request, std::uint32_t flags);
  DomainResult<void> save_state(const Snapshot& snapshot);
  // snapshot_overlay.cc
  DomainResult<void> make_overlays(const Snapshot& snapshot, std::uint32_t flags);
  // `nodes`: query-named-block-nodes' answer.
  DomainResult<void> open_overlay(Disk& disk, const Json& nodes);
  DomainResult<void> drop_overlay(Disk& disk);
  void install_overlay(Disk& disk);
  // snapshot_revert.cc
  // Whether nobody else's leases are in the way of these disks in place of ours.
  DomainResult<void> check_leases_of(const std::vector<DiskDefinition>& disks) const;
  // snapshot_delete.cc
  DomainResult<std::vector<Merge>> plan_merges(const Snapshot& snapshot);
  DomainResult<void> check_delete(const Snapshot& snapshot, std::uint32_t flags) const;
  DomainResult<void> delete_images(const std::string& name);
  DomainResult<void> merge_overlays(const std::vector<Merge>& merges);
  DomainResult<void> wait_for_merge(Disk& disk);

  // block_copy.cc
  DomainResult<void> copy(const std::string& disk, CopyRequest request);
  DomainResult<void> check_destination(const Disk& disk, const CopyRequest& request) const;
  DomainResult<void> start_copy(Disk& disk, const CopyRequest& request);
  DomainResult<void> find_beneath(const CopyRequest& request, Source& mirror);
  DomainResult<void> begin_copy(Disk& disk, const CopyRequest& request);
  // What both recipes can be given.
  static void add_mirror_options(const CopyRequest& request, Json& arguments);
  DomainResult<void> mirror_to_node(Disk& disk, const CopyRequest& request);
  DomainResult<void> open_image(Source& mirror);
  DomainResult<void> create_image(const Disk& disk, const CopyRequest& request, Source& mirror);
  DomainResult<void> create_raw(const Sizes& sizes, Source& mirror);
  DomainResult<void> create_qcow2(const Source& source, const Sizes& sizes, const Source* beneath,
                                  Source& mirror);
  DomainResult<Sizes> sizes_of(const Source& source);
  // `nodes`: query-named-block-nodes' answer.
  static DomainResult<Sizes> sizes_in(const Json& nodes, const Source& source);
  // Returns when the job is gone.
  DomainResult<void> run_create_job(const std::string& id, Json options);

  // block_copy_drive.cc: the recipe `drive`.
  DomainResult<void> find_beneath_drive(const CopyRequest& request, Source& mirror);
  DomainResult<void> mirror_to_file(Disk& disk, const CopyRequest& request);
  // Learns the names of the nodes that QEMU opened beneath the mirror at the pivot.
  DomainResult<void> name_opened_chain(Source& mirror);

  // block_copy_xml.cc
  static DomainResult<void> take_backing(const xml::Backing& given, Source& above);

  // block_job.cc
  DomainResult<void> pivot(Job& job);
  // Tells QEMU to end a job that is ready, by this command.
  DomainResult<void> complete(Job& job, std::string_view command, const Json& arguments);
  DomainResult<JobEnd> wait_for_end(Disk& disk);
  DomainResult<void> take_events();
  DomainResult<void> wait_for_event(const std::string& what);
  DomainResult<void> handle(const Event& event);
  DomainResult<void> conclude(Disk& disk);
  // What query-jobs says of a job that has concluded.
  DomainResult<JobEnd> end_of(const std::string& id);
  DomainResult<void> dismiss(const std::string& id);
  // Of a job whose state is succeeded or failed, and that was dismissed.
  DomainResult<void> clear_away(Disk& disk);
  DomainResult<void> succeed(Disk& disk);
  DomainResult<void> come_to_nothing(const Job& job);
  // The mirror becomes the disk's source.
  DomainResult<void> take_over(Disk& disk);
  // The images that the job made superfluous leave the chain.
  DomainResult<void> drop_images(Disk& disk);
  void emit(const Disk& disk, std::string_view type, std::string_view status);

  // status.cc
  void save();
  DomainResult<void> read_status(const std::string& status);
  // reconnect.cc
  DomainResult<void> look_at_nodes(Job& job);
  DomainResult<void> end_create_jobs(const Json& jobs);
  DomainResult<void> end_snapshot();
  DomainResult<void> resume(Disk& disk, const Json& jobs);
  DomainResult<void> undo_start(Disk& disk);
  // leases.cc
  // What a file has to be for a chain and its job.
  struct Need {
    LeaseMode lease = LeaseMode::shared;
    Label label = Label::read_only;
  };
  using Needs = std::map<std::string, Need>;  // by path
  static Needs needs_of(const Disk& disk);
  std::string holder(const Disk& disk) const { return name_ + "/" + disk.target; }
  // To be called when the disk's job is there and nothing was done for it yet: takes or raises the
  // leases that it needs, all or none.  Those that it no longer needs stay.
  DomainResult<void> take_leases(const Disk& disk);
  // The same with the labels, when all files are there and QEMU has been told nothing.
  DomainResult<void> raise_labels(const Disk& disk);
  // When QEMU has let go, and before a file is removed: what is not needed is given back, and what
  // was raised is lowered.
  void give_back(const Disk& disk);
  void give_back_to(const std::string& holder, const Needs& needs);

  Hypervisor& hypervisor_;
  Files& files_;
  bool persistent_ = false;
  Dialect dialect_ = Dialect::as_libvirt;
  CopyRecipe recipe_ = CopyRecipe::blockdev;
  bool running_ = false;  // the guest's processors
  std::string name_;
  Passphrases passphrases_;  // of all disks' definitions; a revert needs them anew
  LockManager* locks_ = nullptr;
  Labels* labels_ = nullptr;
  std::function<void(const std::string&)> keep_status_;
  std::function<Outcome<void>()> restart_;
  std::function<std::int64_t()> now_;
  SnapshotTree snapshots_;
  std::optional<Snapshot> making_;  // that is to be in the tree when it is done
  unsigned next_index_ = 1;
  std::deque<Disk> disks_;
  std::deque<BlockJobEvent> events_;
  std::string create_job_;  // the create job that a call waits for; empty when it has concluded
};

}  // namespace conformance
