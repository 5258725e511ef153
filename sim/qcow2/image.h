// One open qcow2 image: guest bytes in, host clusters out.
//
// An Image knows its own file only; what shows through its unallocated clusters is a Backing that
// its owner sets.  Several coroutines may use one Image at once.

#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/refcounts.h"
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
  enum class Kind : unsigned char {
    absent,  // unallocated: the backing shows, or zeroes
    zero,    // reads as zeroes, the backing does not show
    data,    // stored at `host`, adjacent for the whole length
  };
  Kind kind = Kind::absent;
  std::uint64_t length = 0;  // bytes, never beyond what was asked for
  HostOffset host;           // of the first byte; data only
};

// Offsets and lengths are bytes and need no alignment; a range beyond size() is refused with EIO.
// Buffers live until the task has ended.  close() before destruction, or what was not flushed is
// lost (as in a crash).
class Image {
 public:
  // Checks the header as QEMU 7.2 does and refuses with its words.  Opening for writing clears
  // unknown autoclear bits.
  static Task<Result<std::unique_ptr<Image>>> open(World& world,
                                                   std::shared_ptr<storage::Storage> file,
                                                   bool writable);
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const Header& header() const { return header_; }
  std::uint64_t size() const { return size_; }  // whole sectors
  std::uint64_t cluster_size() const { return geometry_.cluster_bytes(); }
  bool writable() const { return writable_; }

  // Not owned; may be null and may change at run time, between requests.
  void set_backing(Backing* backing) { backing_ = backing; }

  Task<Result<>> read(GuestOffset at, MutableBytes into);
  Task<Result<>> write(GuestOffset at, Bytes from);

  // Whole clusters get the zero flag (and, with `unmap`, lose their host cluster); of a partly
  // covered cluster the rest must read as zero, or it is written as data.
  Task<Result<>> write_zeroes(GuestOffset at, std::uint64_t length, bool unmap);

  // Whole clusters in the range, and a short last one, become zero if they are allocated or there
  // is a backing; their space goes back to the file.  Partly covered clusters stay.
  Task<Result<>> discard(GuestOffset at, std::uint64_t length);

  // Everything acknowledged so far is in the file, and the file is flushed.
  Task<Result<>> flush();

  // What the image itself has at `at`: the longest run of one kind, at most `length`.
  Task<Result<Extent>> status(GuestOffset at, std::uint64_t length);

  // Stores another backing name and format (empty: none) in the header.
  Task<Result<>> change_backing_name(std::string file, std::string format);

  // Writes back everything.  The image takes no requests afterwards.
  Task<Result<>> close();

 private:
  // A request whose data is on its way; what would move its clusters waits for it.
  struct InFlight {
    enum class Kind : unsigned char { read, overwrite, allocate };
    Kind kind;
    GuestOffset first, end;  // whole clusters
  };
  using Flights = std::list<InFlight>;

  // What map_for_write found for the start of a request.
  struct Piece {
    std::uint64_t length = 0;  // bytes of the request
    HostOffset host;           // of its first byte
    bool link = false;         // new or zero-flagged clusters: copy around, then set the entries
    Flights::iterator flight;
  };

  Image(World& world, std::shared_ptr<storage::Storage> file, Header header, bool writable);

  Result<> check_range(GuestOffset at, std::uint64_t length) const;
  Result<> check_writable() const;

  // l2.cc: the mapping tables.  All with lock_ held.
  Task<Result<HostOffset>> l2_table(GuestCluster cluster);  // value 0: none
  Task<Result<HostOffset>> l2_table_for_update(GuestCluster cluster);
  Task<Result<std::uint64_t>> entry(GuestCluster cluster);
  Task<Result<>> check_entry(GuestCluster cluster, std::uint64_t value) const;
  Task<Result<Extent>> mapping(GuestOffset at, std::uint64_t length);
  Task<Result<>> release_entry(std::uint64_t old_entry, bool discard);

  // write.cc
  Task<Result<Piece>> map_for_write(GuestOffset at, std::uint64_t length);
  Task<Result<>> copy_around(GuestOffset at, const Piece& piece);
  Task<Result<>> fill(GuestOffset from, std::uint64_t length, HostOffset to);
  Task<Result<>> link(GuestOffset at, const Piece& piece);

  World& world_;
  std::shared_ptr<storage::Storage> file_;
  Header header_;
  Geometry geometry_;
  std::uint64_t size_;
  bool writable_;
  Backing* backing_ = nullptr;
  Tables tables_;
  Refcounts refcounts_;
  Mutex lock_;  // around every use of the tables
  Flights flights_;
  WaitQueue landed_;  // woken when a flight ends
};

}  // namespace sim::qcow2
