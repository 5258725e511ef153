// The port to libvirt's API: calls, flags, events and errors as libvirt 9.0 has them.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "conformance/target/domain_error.h"
#include "conformance/target/passphrases.h"

namespace conformance {

class Labels;
class LockManager;

// virDomainBlockRebaseFlags (libvirt-domain.h); the values are ABI.
enum BlockRebaseFlag : std::uint32_t {
  kRebaseShallow = 1U << 0,
  kRebaseReuseExt = 1U << 1,
  kRebaseCopyRaw = 1U << 2,
  kRebaseCopy = 1U << 3,
  kRebaseRelative = 1U << 4,
  kRebaseCopyDev = 1U << 5,
  kRebaseBandwidthBytes = 1U << 6,
  // As proposed (2012): `base` is a document.  Ours; libvirt refuses the bit.
  kRebaseBaseXml = 1U << 16,
};
// virDomainBlockPullFlags.
enum BlockPullFlag : std::uint32_t { kPullBandwidthBytes = 1U << 6 };
// virDomainBlockPullFlags as proposed in 2011.
enum PullFlag : std::uint32_t { kPullContinuous = 1U << 0 };
// virDomainBlockCommitFlags.
enum BlockCommitFlag : std::uint32_t {
  kCommitShallow = 1U << 0,
  kCommitDelete = 1U << 1,
  kCommitActive = 1U << 2,
  kCommitRelative = 1U << 3,
  kCommitBandwidthBytes = 1U << 4,
};
// virDomainBlockCopyFlags.
enum BlockCopyFlag : std::uint32_t {
  kCopyShallow = 1U << 0,
  kCopyReuseExt = 1U << 1,
  kCopyTransientJob = 1U << 2,
  kCopySynchronousWrites = 1U << 3,
};
// Its typed parameters; 0 is not given.
struct BlockCopyParameters {
  std::uint64_t bandwidth = 0;    // bytes/s
  std::uint32_t granularity = 0;  // bytes
  std::uint64_t buf_size = 0;     // bytes
};
// virDomainBlockJobAbortFlags.
enum BlockJobAbortFlag : std::uint32_t {
  kAbortAsync = 1U << 0,
  kAbortPivot = 1U << 1,
};
// virDomainBlockJobSetSpeedFlags.
enum BlockJobSetSpeedFlag : std::uint32_t { kSetSpeedBandwidthBytes = 1U << 0 };

// virDomainSnapshotCreateFlags.
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
// virDomainSnapshotDeleteFlags.
enum SnapshotDeleteFlag : std::uint32_t {
  kSnapshotDeleteChildren = 1U << 0,
  kSnapshotDeleteMetadataOnly = 1U << 1,
  kSnapshotDeleteChildrenOnly = 1U << 2,
};
// virDomainSnapshotRevertFlags.
enum SnapshotRevertFlag : std::uint32_t {
  kSnapshotRevertRunning = 1U << 0,
  kSnapshotRevertPaused = 1U << 1,
  kSnapshotRevertForce = 1U << 2,
  kSnapshotRevertResetNvram = 1U << 3,
};
// virDomainSnapshotListFlags; of the children of one snapshot the first is DESCENDANTS.
enum SnapshotListFlag : std::uint32_t {
  kSnapshotListRoots = 1U << 0,
  kSnapshotListMetadata = 1U << 1,
  kSnapshotListLeaves = 1U << 2,
  kSnapshotListNoLeaves = 1U << 3,
  kSnapshotListNoMetadata = 1U << 4,
  kSnapshotListInactive = 1U << 5,
  kSnapshotListActive = 1U << 6,
  kSnapshotListDiskOnly = 1U << 7,
  kSnapshotListInternal = 1U << 8,
  kSnapshotListExternal = 1U << 9,
};

// Which API a domain has.
enum class Dialect : unsigned char {
  as_libvirt,   // libvirt 9.0's
  as_proposed,  // that and what the founding documents propose, 2011 to 2014
};

// Which commands a copy is made of.
enum class CopyRecipe : std::uint8_t {
  blockdev,  // blockdev-add, blockdev-create, blockdev-mirror: what libvirt 9.0 sends
  // drive-mirror with the destination's file name, its format always said, and block-job-*: what
  // libvirt sent when block copy was designed (2012), and as long as QEMU had no blockdev-mirror
  // that it could use.
  drive,
};

struct DiskDefinition {
  std::string target;  // "vda"
  std::string path;    // of the active image, absolute
  std::string format;  // <driver type>: "qcow2", "raw"
  // <encryption format='luks'> of the images of its chain.
  Passphrases passphrases = {};
};
struct DomainDefinition {
  std::vector<DiskDefinition> disks;
  Dialect dialect = Dialect::as_libvirt;
  bool persistent = false;  // only a blockCopy with kCopyTransientJob copies then
  CopyRecipe recipe = CopyRecipe::blockdev;
  // Is given the domain's status, a document, whenever it changes and before anything is done on
  // the strength of it: the last one is what Domain::reconnect() needs.  Null: nobody keeps it.
  std::function<void(const std::string&)> keep_status = {};
  // Ends the hypervisor and starts it anew, a paused machine without disks behind the same port; a
  // revert needs it.  Null: this target cannot.
  std::function<Outcome<void>()> restart = {};
  // The time of the host, in seconds since 1970: the name of a snapshot that was given none.
  // Null: 0.
  std::function<std::int64_t()> now = {};
  // A disk holds its leases and labels as "NAME/TARGET".
  std::string name = "domain";
  // Null: there is none, as with libvirt 9.0 as it comes.  Both outlive the domain.
  LockManager* locks = nullptr;
  Labels* labels = nullptr;
};

// One snapshot of a domain's tree.
struct SnapshotInfo {
  std::string name;
  std::string parent;  // empty: a root
  bool current = false;
  friend bool operator==(const SnapshotInfo&, const SnapshotInfo&) = default;
};

// VIR_DOMAIN_EVENT_ID_BLOCK_JOB and _BLOCK_JOB_2, which libvirt emits together.
struct BlockJobEvent {
  std::string disk;    // target name, "vda" (BLOCK_JOB_2)
  std::string path;    // the disk's source file when the event was emitted (BLOCK_JOB)
  std::string type;    // "COPY", "PULL", "COMMIT", "ACTIVE_COMMIT"
  std::string status;  // "READY", "COMPLETED", "CANCELED", "FAILED"
  friend bool operator==(const BlockJobEvent&, const BlockJobEvent&) = default;
};

// One element of a disk's chain as the live XML shows it, top first.
struct ChainLink {
  std::string path;
  std::string format;  // "qcow2", "raw"
  friend bool operator==(const ChainLink&, const ChainLink&) = default;
};
struct Chain {
  std::vector<ChainLink> links;
  bool terminated = true;  // an explicit <backingStore/> ends it
  friend bool operator==(const Chain&, const Chain&) = default;
};

// <mirror>: a copy or an active commit in progress; of a commit, its base.
struct MirrorState {
  std::string path;
  std::string format;
  std::string job;    // "copy", "active-commit"
  std::string ready;  // "", "yes", "abort", "pivot"
};

// virDomainBlockPullInfo as proposed: how far a pull has come, in bytes of the disk.
struct PullPosition {
  std::uint64_t cursor = 0;  // for the next call; == end: nothing is left behind it
  std::uint64_t end = 0;     // the disk's size
  // Of an increment after which nothing depends on the backing image: the link to it is being
  // dropped, and the event COMPLETED will say so.
  bool drops_backing = false;
  friend bool operator==(const PullPosition&, const PullPosition&) = default;
};

class DomainApi {
 public:
  virtual ~DomainApi() = default;

  // virDomainBlockRebase.  `base` nothing is NULL; bandwidth in MiB/s, or bytes/s with
  // kRebaseBandwidthBytes.
  virtual DomainResult<void> block_rebase(const std::string& disk,
                                          const std::optional<std::string>& base,
                                          std::uint64_t bandwidth, std::uint32_t flags) = 0;
  // virDomainBlockCopy.  `destination` is a <disk> document, of which only its type, <driver>,
  // <source> and <backingStore> count.
  virtual DomainResult<void> block_copy(const std::string& disk, const std::string& destination,
                                        const BlockCopyParameters& parameters,
                                        std::uint32_t flags) = 0;
  // virDomainBlockPull: block_rebase without a base.
  virtual DomainResult<void> block_pull(const std::string& disk, std::uint64_t bandwidth,
                                        std::uint32_t flags) = 0;
  // virDomainBlockCommit.  `base` nothing: the image below the top with kCommitShallow, else the
  // bottom; `top` nothing: the active image.
  virtual DomainResult<void> block_commit(const std::string& disk,
                                          const std::optional<std::string>& base,
                                          const std::optional<std::string>& top,
                                          std::uint64_t bandwidth, std::uint32_t flags) = 0;
  // virDomainBlockJobAbort.  Without kAbortAsync it returns when the job is gone.
  virtual DomainResult<void> block_job_abort(const std::string& disk, std::uint32_t flags) = 0;
  // virDomainBlockJobSetSpeed.
  virtual DomainResult<void> block_job_set_speed(const std::string& disk, std::uint64_t bandwidth,
                                                 std::uint32_t flags) = 0;

  // What was proposed in 2011 (virDomainBlockPull with a cursor, BlockPullAll, GetBlockPullInfo,
  // BlockPullAbort) and no libvirt has.  `cursor` nothing is NULL: from the beginning.
  virtual DomainResult<PullPosition> pull(const std::string& /*disk*/,
                                          std::optional<std::uint64_t> /*cursor*/,
                                          std::uint32_t /*flags*/) {
    return no_support("virDomainBlockPull with a cursor");
  }
  virtual DomainResult<void> pull_all(const std::string& /*disk*/) {
    return no_support("virDomainBlockPullAll");
  }
  virtual DomainResult<PullPosition> pull_info(const std::string& /*disk*/) {
    return no_support("virDomainGetBlockPullInfo");
  }
  virtual DomainResult<void> pull_abort(const std::string& /*disk*/) {
    return no_support("virDomainBlockPullAbort");
  }

  // virDomainSnapshotCreateXML; the snapshot's name.  `xml` is a <domainsnapshot> document.
  virtual DomainResult<std::string> snapshot_create_xml(const std::string& xml,
                                                        std::uint32_t flags) = 0;
  // virDomainSnapshotDelete, virDomainRevertToSnapshot.
  virtual DomainResult<void> snapshot_delete(const std::string& name, std::uint32_t flags) = 0;
  virtual DomainResult<void> snapshot_revert(const std::string& name, std::uint32_t flags) = 0;
  // All snapshots, names in ascending order.
  virtual DomainResult<std::vector<SnapshotInfo>> snapshots() = 0;

  // The oldest block job event not yet taken; waits up to `limit` for it.
  virtual DomainResult<std::optional<BlockJobEvent>> next_event(
      std::chrono::milliseconds limit) = 0;

  // What the live XML says of the disk.
  virtual DomainResult<Chain> chain(const std::string& disk) = 0;
  virtual DomainResult<std::optional<MirrorState>> mirror(const std::string& disk) = 0;

  // QOM path of the disk's guest device, for Guest.
  virtual DomainResult<std::string> qdev(const std::string& disk) = 0;

 protected:
  // VIR_ERR_NO_SUPPORT, with libvirt's text.
  static std::unexpected<DomainFailure> no_support(const std::string& function) {
    return std::unexpected(DomainFailure(
        DomainError{"DOMAIN", "NO_SUPPORT",
                    "this function is not supported by the connection driver: " + function}));
  }
};

}  // namespace conformance
