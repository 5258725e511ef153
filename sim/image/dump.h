// Every structure of a qcow2 file, with where it is and what is wrong with it.  Made for damaged
// files, too: what cannot be read is said, and the rest is shown.
//
// What is shown is a row of records in sections.  Adjacent entries that say the same (or that go on
// one after the other) are one record with a count, so nothing is left out and a table of zeroes is
// a line.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::image {

// In this order.  `place` and `guest` are the answers to DumpRequest::at and ::guest.
enum class DumpSection : unsigned char {
  header,
  refcounts,
  l1,
  l2,
  snapshots,
  bitmaps,
  clusters,
  place,
  guest,
};
std::string_view name_of(DumpSection section);  // "header", "refcounts", …

struct DumpRecord {
  std::string_view kind = {};  // "field", "extension", "l2-entry", …
  // Of the file.  Clusters of an external data file have no record here.
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::string name = {};     // "cluster_bits", "[0]", "[3..17]"
  std::string value = {};    // as it is stored
  std::string meaning = {};  // in words
  Json fields = Json::object();
  std::vector<std::string> problems = {};
};

class DumpSink {
 public:
  virtual ~DumpSink() = default;
  virtual void section(DumpSection section) = 0;
  // A table begins: what follows, up to the next one, are its entries.
  virtual void table(const DumpRecord& record) = 0;
  virtual void record(const DumpRecord& record) = 0;
};

struct DumpRequest {
  std::optional<DumpSection> only = {};
  std::optional<std::uint64_t> at = {};     // all that refers to this byte of the file
  std::optional<std::uint64_t> guest = {};  // the way from a byte of the disk to its bytes
};

struct Dumped {
  std::uint64_t problems = 0;
  bool complete = true;  // false: there was more than fits in the bounds (records, work, memory)
};

// Reads `file` only, never a backing file or a data file.  An Error only if it is not qcow2 at all.
Task<Result<Dumped>> dump(storage::Storage& file, DumpRequest request, DumpSink& sink);

}  // namespace sim::image
