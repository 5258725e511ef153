// Where an image's own structures lie, and the rule that nothing else may be written there; and
// whether anything was met that shows the image to be broken.
//
// QEMU's overlap-check=cached: a broken image (a count that is 0 for a cluster in use, an entry
// that points into a table) must not make us destroy the rest of it.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/result.h"
#include "sim/qcow2/units.h"

namespace sim::qcow2 {

// In memory 8 bytes an L2 table and refcount block.  Empty, it forbids nothing.
class Metadata {
 public:
  // In the order in which QEMU looks.
  enum class Kind : unsigned char {
    header,
    l1,
    l2,
    refcount_table,
    refcount_block,
    snapshot_table,
    inactive_l1,
    bitmap_directory,
  };

  void clear_areas();
  // Clusters of an L2 table or refcount block each, in any order, some of them twice: what an image
  // has when it is opened.
  void assign_tables(std::vector<HostCluster> l2, std::vector<HostCluster> refcount_blocks);
  // An L2 table or refcount block comes or goes.
  void add_table(Kind kind, HostCluster cluster);
  void remove_table(Kind kind, HostCluster cluster);
  // Any other structure.
  void add_area(Kind kind, HostCluster first, std::uint64_t clusters);
  // The same for the only one of its kind: what was there is forgotten.
  void move_area(Kind kind, HostCluster first, std::uint64_t clusters);

  // EIO, in QEMU's words, if a structure lies in [first, end); those of kind `own` may.  The image
  // is broken then.
  Result<> check(HostCluster first, HostCluster end, std::optional<Kind> own = {});

  // Remembers that the image is broken; the error to fail with: EIO.
  Error report(std::string text);
  bool broken() const { return broken_; }

 private:
  struct Area {
    std::uint64_t first = 0, end = 0;
    Kind kind = Kind::header;
  };
  std::optional<Kind> found(std::uint64_t first, std::uint64_t end, std::optional<Kind> own) const;

  std::vector<Area> areas_;
  std::vector<std::uint64_t> tables_;  // cluster * 2, plus 1 for a refcount block; ascending
  bool broken_ = false;
};

}  // namespace sim::qcow2
