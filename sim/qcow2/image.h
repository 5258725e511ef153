// One open qcow2 image: guest bytes in, host clusters out.
//
// An Image knows its own file only; what shows through its unallocated clusters is a Backing that
// its owner sets.  Several coroutines may use one Image at once.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/crypto/sector_cipher.h"
#include "sim/qcow2/bitmap.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/dirty_bits.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/l2_entry.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/snapshot.h"
#include "sim/qcow2/tables.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::qcow2 {

// What lies beneath an image.
class Backing {
 public:
  virtual ~Backing() = default;
  // Fills `into` from `offset`; zeroes beyond its end.
  virtual Task<Result<>> read(std::uint64_t offset, MutableBytes into) = 0;
  virtual std::uint64_t size() const = 0;
  // True if the range is known to read as zeroes without reading it (beyond the end it does).
  virtual Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) = 0;
};

// A stretch of the guest disk of one kind, by this image's own tables.
struct Extent {
  // absent: unallocated, the backing shows, or zeroes.  zero: reads as zeroes, the backing does not
  // show.  data: stored at `host`, adjacent for the whole length.  compressed: stored, but not byte
  // by byte.
  using Kind = L2Format::Kind;
  Kind kind = Kind::absent;
  std::uint64_t length = 0;  // bytes, never beyond what was asked for
  HostOffset host;           // of the first byte; data, and others that keep a cluster (`placed`)
  bool placed = false;       // a host cluster is kept for it: adjacent for the whole length
};

struct OpenOptions {
  bool writable = false;
  // The open external data file; required if the header's feature bit says that there is one.
  std::shared_ptr<storage::Storage> data_file = {};
  // unlock()'s; without it an encrypted image can be looked at, its data not (EIO).
  std::shared_ptr<const crypto::SectorCipher> cipher = {};
  std::optional<bool> lazy_refcounts = {};  // absent: as the header says
  // Shows the disk as this internal snapshot holds it (id or name); not with `writable`.
  std::string snapshot = {};
  Observer* observer = nullptr;  // see observe()
  // As lax as QEMU: tables beyond the end of the file read as zeroes instead of being refused.
  bool lax = false;
};

// Offsets and lengths are bytes and need no alignment; a range beyond size() is refused with EIO.
// Buffers live until the task has ended.  close() before destruction, or what was not flushed is
// lost (as in a crash).
class Image {
  friend class Amender;  // amend.cc

 public:
  // Checks the header as QEMU 7.2 does and refuses with its words.  Opening for writing clears
  // unknown autoclear bits.
  static Task<Result<std::unique_ptr<Image>>> open(World& world,
                                                   std::shared_ptr<storage::Storage> file,
                                                   OpenOptions options);
  // As QEMU opens a plain image: lax, without data file or key.
  static Task<Result<std::unique_ptr<Image>>> open(World& world,
                                                   std::shared_ptr<storage::Storage> file,
                                                   bool writable);
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const Header& header() const { return header_; }
  std::uint64_t size() const { return size_; }  // whole sectors
  std::uint64_t cluster_size() const { return geometry_.cluster_bytes(); }
  bool writable() const { return options_.writable; }

  // Not owned; may be null and may change at run time, between requests.
  void set_backing(Backing* backing) { backing_ = backing; }

  // From now on told what is about to happen; null: nobody.  Outlives the image.
  void observe(Observer* observer) { tables_.observe(observer); }

  Task<Result<>> read(GuestOffset at, MutableBytes into);
  Task<Result<>> write(GuestOffset at, Bytes from);

  // Whole clusters get the zero flag (and, with `unmap`, lose their host cluster); of a partly
  // covered cluster the rest must read as zero, or it is written as data.
  Task<Result<>> write_zeroes(GuestOffset at, std::uint64_t length, bool unmap);

  // Whole clusters in the range, and a short last one, become zero if they are allocated or there
  // is a backing; their space goes back to the file.  Partly covered clusters stay.
  Task<Result<>> discard(GuestOffset at, std::uint64_t length);
  // Whether host clusters that these two give up are discarded in the file (option
  // pass-discard-request; by default as the node's option discard=unmap says).
  bool pass_discard_request = true;
  // Clusters that these two make zero keep their place in the file (option discard-no-unref, from
  // 8.1; version 3 only), whatever is passed on.
  bool discard_keeps_place = false;

  // The first half of flush(): what is in memory is written to the file.
  Task<Result<>> write_back();
  // Everything acknowledged so far is in the file, and the file is flushed.
  Task<Result<>> flush();

  // What the image itself has at `at`: the longest run of one kind, at most `length`.
  Task<Result<Extent>> status(GuestOffset at, std::uint64_t length);
  // Appends that, and the runs behind it, as long as `into` holds fewer than `most` and they are
  // within the range: one at least.
  Task<Result<>> statuses(GuestOffset at, std::uint64_t length, std::size_t most,
                          std::vector<Extent>& into);

  // Stores whole clusters (the disk's last may be short) compressed; those that do not shrink are
  // written as they are.  As QEMU: EINVAL for parts of clusters, EIO where a host cluster is there
  // already, ENOTSUP with an external data file; an empty `from` pads the file to whole sectors,
  // which `qemu-img convert -c` does at its end.
  Task<Result<>> write_compressed(GuestOffset at, Bytes from);

  // Sets the virtual size, whole sectors; what is new reads as zeroes whatever the backing holds.
  // Refused in QEMU's words: other sizes, with internal snapshots in version 2, preallocation of
  // less.
  Task<Result<>> resize(std::uint64_t size, Preallocation preallocation);

  // Internal snapshots; ENOENT for one that is not there.
  const std::vector<Snapshot>& snapshots() const { return snapshots_; }
  const Snapshot* find_snapshot(std::string_view id_or_name) const;  // id first, as QEMU does
  Task<Result<>> create_snapshot(NewSnapshot snapshot);
  Task<Result<>> apply_snapshot(std::string id_or_name);
  Task<Result<>> delete_snapshot(std::string id_or_name);
  // VM state lies behind the disk, from the first L1 entry beyond it.
  Task<Result<>> read_vm_state(std::uint64_t at, MutableBytes into);
  Task<Result<>> write_vm_state(std::uint64_t at, Bytes from);

  // Persistent bitmaps, as the directory had them when the image was opened and as they were
  // changed since.  While an image is open for writing, enabled bitmaps record every change, and
  // the file says in_use; close() stores them.
  const std::vector<BitmapInfo>& bitmaps() const { return bitmaps_; }
  // What QEMU asks of a new persistent bitmap (it names the node before these words).
  Result<> can_store_bitmap(std::string_view name, std::uint8_t granularity_bits) const;
  // QEMU's default: the cluster size, within 4 KiB and 64 KiB.
  std::uint8_t default_granularity_bits() const;
  Task<Result<>> add_bitmap(std::string name, std::uint8_t granularity_bits, bool enabled);
  Task<Result<>> remove_bitmap(std::string name);
  Task<Result<>> clear_bitmap(std::string name);
  Task<Result<>> enable_bitmap(std::string name, bool enabled);
  // Sets what is set in a bitmap of `source`, which may be this image, whatever its granularity.
  Task<Result<>> merge_bitmap(std::string name, Image& source, std::string source_name);
  // The bits of a bitmap, bit n%8 of byte n/8 for [n, n+1) << granularity_bits.  EFBIG beyond
  // 64 MiB of them.
  Task<Result<std::vector<std::byte>>> bitmap_bits(std::string name);
  // Sets [at, at + length) in a bitmap.
  Task<Result<>> set_in_bitmap(std::string name, std::uint64_t at, std::uint64_t length);

  // Stores another backing name and format (empty: none) in the header.
  Task<Result<>> change_backing_name(std::string file, std::string format);

  // Nothing is allocated any more: what lies below shows everywhere.  Without snapshots, bitmaps
  // and the like the file is laid out as a new one.  The last request before close().
  Task<Result<>> make_empty();

  // Writes back everything.  The image takes no requests afterwards.
  Task<Result<>> close();

 private:
  // A request whose data is on its way, by whole clusters [first, end), for as long as the object
  // lives.  What would take its host clusters away waits for it, and so do writes for the
  // allocation of what they touch.
  class Flight {
   public:
    Flight(Image& image, GuestOffset at, std::uint64_t length, bool allocates);
    ~Flight();
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    const std::uint64_t first, end;
    const bool allocates;

   private:
    friend Image;
    Image& image_;
    Flight* next_;
    Flight* previous_ = nullptr;
  };

  // Clusters of a piece that are allocated or changed together (QEMU: QCowL2Meta).
  struct Part {
    std::uint64_t at = 0, length = 0;  // bytes of the piece
    std::uint64_t head = 0, tail = 0;
  };

  // The start of a write, mapped: adjacent in the file, ready for its data.
  struct Piece {
    std::uint64_t length = 0;  // bytes of the request
    HostOffset host;           // of its first byte
    std::uint64_t head = 0;    // bytes before the request that are to be filled
    std::uint64_t tail = 0;    // and behind it
    bool link = false;         // entries are to be set
    // Of an image that is observed: what has an entry to be set, and whether its surroundings were
    // copied.
    std::vector<Part> parts = {};
    bool copied = false;
    std::vector<std::pair<HostCluster, std::uint64_t>> allocated;  // to give back on failure
  };

  Image(World& world, std::shared_ptr<storage::Storage> file, Header header, OpenOptions options);

  // The L1 table that requests go through.
  struct L1 {
    HostOffset offset;
    std::uint32_t entries = 0;
  };
  L1 l1() const { return shown_l1_ ? *shown_l1_ : L1{header_.l1_table_offset, header_.l1_size}; }

  // A stretch, and the entry that it begins with.
  struct Mapping {
    Extent extent;
    L2Entry entry;
  };

  Task<Result<>> prepare();  // the part of open() that needs an Image
  bool observed() const { return tables_.observed(); }
  Task<Result<>> load_tables();
  Result<> check_range(GuestOffset at, std::uint64_t length) const;
  Result<> check_change(GuestOffset at, std::uint64_t length) const;
  // read() and write() without the check of the range: VM state lies beyond size().  A place that
  // the L1 table has no entry for is refused with EIO.
  Task<Result<>> read_at(GuestOffset at, MutableBytes into);
  Task<Result<>> write_at(GuestOffset at, Bytes from);
  Task<Result<>> store_header();
  Task<Result<>> read_piece(const Mapping& mapping, GuestOffset at, MutableBytes into);
  // Makes an internal snapshot what is read.
  Task<Result<>> show_snapshot(const std::string& id_or_name);

  // snapshot.cc
  Task<Result<>> store_features(std::uint64_t features);
  Task<Result<>> while_dirty(Task<Result<>> change);
  Task<Result<>> take_snapshot(NewSnapshot wanted);
  Task<Result<>> drop_snapshot(std::size_t index);
  Task<Result<>> go_to(L1 source);
  Task<Result<>> put_active(std::vector<std::uint64_t>& l1);
  Task<Result<>> replace_snapshot_table();
  Task<Result<>> drop_vm_state(std::uint64_t bytes);
  std::uint64_t vm_state_start() const;

  // snapshot_tree.cc
  enum class Share : unsigned char { raise, lower };
  Task<Result<std::vector<std::uint64_t>>> read_l1(L1 l1);
  Task<Result<>> write_l1(HostOffset at, const std::vector<std::uint64_t>& entries);
  Result<HostOffset> table_of(std::uint64_t l1_entry) const;
  Task<Result<>> change_count(HostCluster first, std::uint64_t count, Share share);
  Task<Result<>> share_clusters(HostOffset table, Share share, std::uint64_t most,
                                std::uint64_t& done);
  Task<Result<>> share_tree(const std::vector<std::uint64_t>& l1, Share share);
  Task<Result<>> refresh_copied(std::vector<std::uint64_t>& l1);
  Task<Result<>> refresh_copied_in(HostOffset table);

  // Called for every change of guest data (writes, zero writes, discards, compressed writes),
  // before it is made.
  void note_change(GuestOffset at, std::uint64_t length);

  // image_bitmaps.cc.  At the end of open() and at the start of close():
  Task<Result<>> load_bitmaps();
  Task<Result<>> store_bitmaps();
  // Before and after the disk gets another size.
  Result<> bitmaps_allow_resize() const;
  void resize_bitmaps(std::uint64_t size);
  Result<std::size_t> find_bitmap(std::string_view name) const;    // ENOENT
  Result<std::size_t> usable_bitmap(std::string_view name) const;  // nor one that is in_use
  Task<Result<>> mark_bitmaps_in_use();
  Task<Result<std::vector<std::uint64_t>>> stored_table(std::size_t index);
  Task<Result<bool>> load_bits(std::size_t index, std::uint64_t entry, std::uint64_t first,
                               MutableBytes into);
  Task<Result<>> merge_bits(std::size_t index, Image& source, std::size_t source_index);
  Task<Result<>> store_bits(std::size_t index, BitmapInfo& stored);
  Task<Result<>> replace_directory(const std::vector<BitmapInfo>& bitmaps);
  Task<void> free_bitmap(BitmapInfo bitmap);

  // Compressed clusters, of which the entry's word holds place and length.  Fills `into` with what
  // is there from byte `within` of the cluster on; nothing is locked.
  Task<Result<>> read_compressed(std::uint64_t word, std::uint64_t within, MutableBytes into);
  Task<Result<>> write_compressed_cluster(GuestOffset at, Bytes from);
  // Gives up the host clusters that the compressed data touches.  With lock_ held.
  Task<Result<>> release_compressed(std::uint64_t word, bool discard);

  // A flight over any part of [first, end), one that allocates if asked; null: none.
  const Flight* flight_over(std::uint64_t first, std::uint64_t end, bool allocating_only) const;
  // Takes the lock at a moment when nothing is in flight over the clusters of the range.
  Task<Mutex::Held> lock_landed(GuestOffset at, std::uint64_t length);

  // l2.cc, all with lock_ held.
  Result<> check_entry(GuestCluster cluster, L2Entry entry);
  HostOffset entry_place(HostOffset table, GuestCluster cluster) const;
  Task<Result<HostOffset>> l2_table(GuestCluster cluster);  // value 0: none
  Task<Result<HostOffset>> l2_table_for_update(GuestCluster cluster);
  Task<Result<HostOffset>> copy_l2_table(HostOffset old);
  Task<Result<HostOffset>> copy_l2_table_observed(HostOffset old, HostOffset l1_place);
  Task<Result<>> fill_l2_table(HostOffset table, HostOffset old);
  Task<Result<L2Entry>> entry(GuestCluster cluster);  // makes the table if there is none
  Task<Result<>> set_entry(GuestCluster cluster, L2Entry entry);
  // The slice that holds the cluster's entry, if it can be had without waiting; with `own`, only of
  // a table that is this image's alone.
  Tables::Slice* slice_now(GuestCluster cluster, bool own);
  L2Entry load_entry(const Tables::Slice& slice, GuestCluster cluster) const;
  void store_entry(Tables::Slice& slice, GuestCluster cluster, L2Entry entry);
  // The longest run of one kind, adjacent in the file if it is placed; compressed clusters come one
  // by one.
  Task<Result<Mapping>> mapping(GuestOffset at, std::uint64_t length);
  std::uint64_t count_unused(const Tables::Slice& slice, GuestCluster from, GuestCluster end) const;
  // Appends the runs from `at` on, up to the end of the last that ends within the slice.
  void map_runs(const Tables::Slice& slice, GuestOffset at, std::uint64_t length, std::size_t most,
                std::vector<Extent>& into);
  // Continues a run by what the slice holds, from `at` on and up to `length` bytes of the run;
  // false if it has ended.
  Result<bool> map_slice(const Tables::Slice& slice, GuestOffset at, std::uint64_t length,
                         Mapping& found);
  Extent stretch_of(L2Entry entry, GuestOffset at) const;
  // Gives up what an entry that is no longer in its table referred to, of every kind.
  Task<Result<>> release_entry(L2Entry old, bool discard);
  Task<Result<>> discard_kept(L2Entry kept);

  // data.cc: the guest's bytes where they are stored; `at` and `host` are of the same byte, whole
  // sectors if the image is encrypted.
  storage::Storage& data() { return format_.data_file ? *options_.data_file : *file_; }
  bool encrypted() const { return header_.crypt_method != 0; }
  Task<Result<>> read_data(HostOffset host, GuestOffset at, MutableBytes into);
  Task<Result<>> write_data(HostOffset host, GuestOffset at, Bytes from);
  Task<Result<>> write_zero_data(HostOffset host, GuestOffset at, std::uint64_t length);
  Task<Result<>> zero_raw_data(HostOffset host, std::uint64_t length);
  Task<Result<>> write_encrypted(HostOffset host, GuestOffset at, Bytes from);
  Task<Result<>> read_part_of_sectors(GuestOffset at, MutableBytes into);
  Task<Result<>> write_part_of_sectors(GuestOffset at, Bytes from);
  std::uint64_t cipher_sector(HostOffset host, GuestOffset at) const;
  // EIO if [host, host + length) holds metadata.
  Result<> may_write(HostOffset host, std::uint64_t length);
  // EIO if a data cluster begins beyond the end of the file, unless opened lax.
  Result<> may_read(HostOffset host, std::uint64_t length);

  // damage.cc
  void learn_areas();
  Task<Result<>> learn_metadata();
  Task<Result<>> learn_tables();
  Task<Result<>> learn_loaded_tables();
  // After a request: a broken image is marked so.  Returns what it is given.
  Task<Result<>> settle(Result<> done);
  Task<Result<>> mark_dirty();
  Task<Result<>> mark_clean();

  // write.cc
  std::optional<HostOffset> place_now(GuestOffset at, std::uint64_t length);
  bool stored(L2Entry entry, std::uint64_t within, std::uint64_t length) const;
  Task<Result<>> write_pieces(GuestOffset at, Bytes from);
  Task<Result<>> write_each(GuestOffset at, Bytes from, std::vector<L2Entry>& replaced);
  Task<Result<Piece>> map_for_write(GuestOffset at, std::uint64_t length);
  Task<Result<bool>> extend(Piece& piece, GuestOffset at, std::uint64_t length);
  Task<Result<std::uint64_t>> count_run(GuestCluster first, std::uint64_t most, bool allocate);
  Task<Result<>> keep(Piece& piece, GuestOffset at, std::uint64_t length, L2Entry entry);
  Task<Result<bool>> allocate(Piece& piece, GuestOffset at, std::uint64_t length, L2Entry entry);
  std::uint64_t head_of(GuestOffset at, L2Entry entry, bool kept) const;
  std::uint64_t tail_of(GuestOffset end, L2Entry entry, bool kept) const;
  L2Entry linked(GuestCluster cluster, L2Entry old, GuestOffset at, const Piece& piece) const;
  Task<Result<>> store(GuestOffset at, Bytes from, const Piece& piece);
  // write_observed.cc: the same in QEMU's requests.
  Task<Result<>> store_observed(GuestOffset at, Bytes from, Piece& piece);
  Task<Result<bool>> zero_part_space(GuestOffset at, const Piece& piece, const Part& part);
  Task<Result<bool>> region_is_zero(GuestOffset at, std::uint64_t length);
  Task<Result<>> copy_around(GuestOffset at, const Piece& piece, const Part& part, Bytes data);
  Task<Result<>> read_around(GuestOffset at, MutableBytes into);
  Task<Result<>> write_around(GuestOffset at, HostOffset host, Bytes from);
  Task<Result<>> fill(GuestOffset from, std::uint64_t length, HostOffset to);
  // Appends to `replaced` the entries that this image no longer uses.
  Task<Result<>> link(GuestOffset at, const Piece& piece, std::vector<L2Entry>& replaced);
  Task<Result<>> give_back(const Piece& piece);

  // zero.cc
  Task<Result<>> zero_sectors(GuestOffset at, std::uint64_t length, bool unmap);
  Task<Result<>> zero_range(GuestOffset at, std::uint64_t length, bool unmap);
  Task<Result<bool>> zero_aligned(GuestOffset at, std::uint64_t length, bool unmap);
  Task<Result<bool>> zero_part(GuestOffset at, std::uint64_t length, bool unmap);
  Task<Result<>> write_plain_zeroes(GuestOffset at, std::uint64_t length);
  Task<Result<bool>> rest_is_zero(GuestOffset at, std::uint64_t length);
  Task<Result<bool>> zero_subclusters(GuestOffset at, std::uint64_t length);
  Task<Result<>> zero_clusters(GuestCluster first, std::uint64_t count, bool unmap);
  Task<Result<>> discard_clusters(GuestCluster first, std::uint64_t count);

  // resize.cc
  Result<> check_resize(std::uint64_t size, Preallocation preallocation) const;
  Task<Result<>> grow(std::uint64_t size, Preallocation preallocation);
  Task<Result<>> grow_l1(std::uint64_t entries);
  Task<Result<>> check_l2_tables(HostOffset l1, std::uint32_t entries);
  Task<Result<>> zero_new(std::uint64_t from, std::uint64_t size);
  Task<Result<>> shrink(std::uint64_t size);
  Task<Result<>> crop_clusters(GuestCluster first, std::uint64_t end);
  Task<Result<>> crop_l2_tables(std::uint64_t first);
  Task<Result<>> store_size(std::uint64_t size);

  // preallocate.cc
  Task<Result<>> preallocate_metadata(GuestOffset from, std::uint64_t end, Preallocation how);
  Task<Result<>> preallocate_data(GuestOffset from, std::uint64_t end, Preallocation how,
                                  bool hides_backing);
  Task<Result<>> link_unwritten(GuestOffset at, const Piece& piece);
  Task<Result<>> place_clusters(GuestCluster first, HostCluster host, std::uint64_t clusters,
                                std::uint64_t allocated);

  // empty.cc, with lock_ held.
  std::uint64_t l1_bytes() const { return header_.l1_size * format::kEntryBytes; }
  Task<Result<>> start_anew(std::uint64_t clusters);
  Task<Result<>> give_up_all();

  std::shared_ptr<storage::Storage> file_;
  OpenOptions options_;
  Header header_;
  std::vector<Snapshot> snapshots_;
  std::uint64_t snapshot_table_bytes_ = 0;  // of the table in the file
  bool half_changed_ = false;               // snapshot.cc: counts and flags may not agree
  bool stays_dirty_ = false;                // they may not since an operation failed
  std::vector<BitmapInfo> bitmaps_;
  // The bits of each, in the same order.
  struct BitmapBits {
    DirtyBits set;                 // by this session
    std::uint64_t stored_end = 0;  // bits below are set, too, where the file says so
    bool listed = false;           // the file's directory has it
  };
  DirtyBitsBudget bitmap_budget_;
  std::vector<BitmapBits> bits_;
  Geometry geometry_;
  L2Format format_;
  std::uint64_t size_;
  std::optional<L1> shown_l1_;  // a snapshot's, instead of the active one
  Backing* backing_ = nullptr;
  // The compressed cluster that was read last: small reads come one after the other.
  struct {
    std::uint64_t word = 0;  // of its entry; 0: none
    std::vector<std::byte> bytes = {};
    std::uint64_t writes = 0;  // compressed clusters written so far: they may take its place
  } inflated_;
  bool lazy_refcounts_ = false;
  std::uint64_t file_end_ = 0;  // at least this much of the file is there
  Tables tables_;
  Refcounts refcounts_;
  Mutex lock_;              // around every use of the tables
  Mutex encrypted_writes_;  // around a write that encrypts: sectors are read, changed and written
  Flight* flights_ = nullptr;
  WaitQueue landed_;  // woken when a flight ends
};

}  // namespace sim::qcow2
