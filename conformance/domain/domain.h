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
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/domain/source.h"
#include "conformance/domain/xml/storage_source.h"
#include "conformance/target/domain_api.h"
#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"

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
  // domain.
  static DomainResult<std::unique_ptr<Domain>> start(Hypervisor& hypervisor, Files& files,
                                                     const DomainDefinition& definition);

  // Takes over a domain whose client has gone, wherever it was cut off: what has ended meanwhile is
  // finished, what was about to be aborted or pivoted still is, and what had not begun is undone,
  // its file included.  `status` is the last that was kept; a text that is no status is
  // XML/XML_ERROR.  Old events of the hypervisor are dropped: query-jobs tells.
  static DomainResult<std::unique_ptr<Domain>> reconnect(
      Hypervisor& hypervisor, Files& files, const std::string& status,
      std::function<void(const std::string&)> keep_status = nullptr);

  DomainResult<void> block_rebase(const std::string& disk, const std::optional<std::string>& base,
                                  std::uint64_t bandwidth, std::uint32_t flags) override;
  // virDomainBlockCopy; `destination` is a <disk> document, of which only <driver>, <source> and
  // <backingStore> count.
  DomainResult<void> block_copy(const std::string& disk, const std::string& destination,
                                const BlockCopyParameters& parameters, std::uint32_t flags);
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
    JobEnd last_end;  // of the job before
    // Where the last increment of a pull ended, until the link is dropped or the pull given up.
    std::optional<PullPosition> pulled;
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
    xml::Backing backing = {};  // of a reused destination, if it was said
  };
  // What QEMU says of a node, in bytes.
  struct Sizes {
    std::uint64_t capacity = 0;
    std::uint64_t cluster = 0;  // 0: it has none
  };

  Domain(Hypervisor& hypervisor, Files& files) : hypervisor_(hypervisor), files_(files) {}

  // domain.cc
  DomainResult<void> add_disk(const DiskDefinition& definition);
  DomainResult<Disk*> find(const std::string& disk);
  // The reply's "return"; QEMU's refusal as libvirt wraps it.
  DomainResult<Json> execute(std::string_view command, const Json& arguments);
  // The same where libvirt does not look at the answer.
  DomainResult<void> execute_ignoring(std::string_view command, const Json& arguments);
  void number(Source& top);
  DomainResult<void> attach_storage(Source& source);
  // `backing` null: opened with "backing": null, where the format can have one.
  DomainResult<void> attach_format(Source& source, const Source* backing, bool read_only);
  DomainResult<void> attach_chain(Source& top, bool read_only);
  // Removes the nodes of this one image, format before storage, ignoring refusals.
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
  DomainResult<void> start_commit(Disk& disk, const CommitRequest& request);

  // block_copy.cc
  DomainResult<void> copy(const std::string& disk, CopyRequest request);
  DomainResult<void> check_destination(const Disk& disk, const CopyRequest& request) const;
  DomainResult<void> start_copy(Disk& disk, const CopyRequest& request);
  // block_copy_xml.cc
  DomainResult<void> take_backing(const xml::Backing& given, Source& above);
  DomainResult<void> begin_copy(Disk& disk, const CopyRequest& request);
  DomainResult<void> open_image(Source& mirror);
  DomainResult<void> create_image(const Disk& disk, const CopyRequest& request, Source& mirror);
  DomainResult<void> create_raw(const Sizes& sizes, Source& mirror);
  DomainResult<void> create_qcow2(const Source& source, const Sizes& sizes, const Source* beneath,
                                  Source& mirror);
  DomainResult<Sizes> sizes_of(const Source& source);
  // Returns when the job is gone.
  DomainResult<void> run_create_job(const std::string& id, Json options);

  // block_job.cc
  DomainResult<void> pivot(Job& job);
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
  DomainResult<void> resume(Disk& disk, const Json& jobs);
  DomainResult<void> undo_start(Disk& disk);

  Hypervisor& hypervisor_;
  Files& files_;
  bool persistent_ = false;
  Dialect dialect_ = Dialect::as_libvirt;
  std::function<void(const std::string&)> keep_status_;
  unsigned next_index_ = 1;
  std::deque<Disk> disks_;
  std::deque<BlockJobEvent> events_;
  std::string create_job_;  // the create job that a call waits for; empty when it has concluded
};

}  // namespace conformance
