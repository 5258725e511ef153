// Inspecting the files of one scenario.
//
//   Inspector inspector(files);
//   TRY(const Layer* copy, inspector.layer(files.directory() + "/copy", "qcow2"));
//   copy->report.check.clean(), copy->report.backing_file, copy->content …     its own bytes
//   TRY(View guest, inspector.view(files.directory() + "/copy", "qcow2"));     through its chain
//
// An Inspector remembers each layer it has read (one read of a base serves every overlay), so make
// a new one whenever the files may have changed.  Files written by a running QEMU are stale until
// the guest's device has flushed.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/inspect/content.h"
#include "conformance/inspect/image.h"
#include "conformance/inspect/snapshot_times.h"
#include "conformance/target/files.h"
#include "conformance/target/passphrases.h"
#include "sim/base/result.h"

namespace conformance::inspect {

struct InternalSnapshot {
  std::string name;
  Content content;  // what the layer's own bytes were
};
struct Layer {
  ImageReport report;
  Content content;
  std::vector<InternalSnapshot> snapshots;  // in the table's order
};

// What a guest reads through a chain.
struct ViewRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::optional<std::uint8_t> pattern;  // the value of every byte; nothing if they differ
  std::uint32_t layer = 0;     // the layer that decides (0 the top), so also for zeroes beyond the
                               // end of a short one; the lowest where nobody has anything
  std::uint32_t mixed_at = 0;  // without a pattern: where its bytes start in `mixed`
  friend bool operator==(const ViewRun&, const ViewRun&) = default;
};
struct View {
  std::vector<ViewRun> runs;        // covers [0, size of the top), ascending
  std::vector<std::string> layers;  // paths, top first
  std::vector<std::string> formats;
  std::vector<std::byte> mixed;
};

// The byte at `offset`, which must lie within the view, and the layer it comes from.
struct ViewByte {
  std::uint8_t value = 0;
  std::uint32_t layer = 0;
};
ViewByte byte_at(const View& view, std::uint64_t offset);

// The offset of the first byte that two views do not have in common (the end of the shorter one
// counts as different); nothing if they are equal.
std::optional<std::uint64_t> first_difference(const View& left, const View& right);

// "qcow2" by its magic number, else "raw"; an Error if there is no such file.
sim::Result<std::string> probe_format(const Files& files, const std::string& path);

// A number for the whole file, length included: equal files have equal digests.  What is `hidden`
// counts as zeroes.
sim::Result<std::uint64_t> digest(const Files& files, const std::string& path,
                                  const std::vector<FileRange>& hidden = {});

class Inspector {
 public:
  // An encrypted image is read with its passphrase, and refused where none is known.
  explicit Inspector(const Files& files, Passphrases passphrases = {})
      : files_(files), passphrases_(std::move(passphrases)) {}

  // Reads one file.  `format` is "raw", "qcow2", or empty: by its magic number.  Owned by the
  // Inspector, valid as long as it is.  An Error is one line that names the file and the reason.
  sim::Result<const Layer*> layer(const std::string& path, std::string_view format);

  // Reads through the chain that the headers name.  A name is resolved against the directory of
  // the file that has it and must lie beneath Files::directory(); a backing file without a format
  // is probed.  At most 64 layers.  The short-layer rule: a layer that ends before the one above
  // it reads as zeroes there, whatever is below it.
  sim::Result<View> view(const std::string& path, std::string_view format);

  // The layers that view() would use, top first.
  sim::Result<std::vector<std::string>> chain(const std::string& path, std::string_view format);

 private:
  struct Link {
    std::string path;
    const Layer* layer;
  };
  sim::Result<std::vector<Link>> links(const std::string& path, std::string_view format);
  sim::Result<std::string> resolve(const std::string& overlay, const std::string& name) const;

  const Files& files_;
  Passphrases passphrases_;
  std::map<std::pair<std::string, std::string>, Layer> layers_;  // by path and format
};

}  // namespace conformance::inspect
