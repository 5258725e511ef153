// From names to open chains, under a policy about what names inside images may refer to.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::image {

// What may be done with names and formats that come out of an image (docs/stricter-than-qemu.md).
struct Policy {
  bool allow_outside = false;  // names may leave the directory of the image that holds them
  bool probe = false;          // a backing file whose format is not recorded is recognised
  bool lax = false;            // as lax as qemu-img in everything else, too
};

// QEMU and libvirt chains are at most this long here; loops are found before.
inline constexpr std::uint32_t kChainMax = 200;

struct OpenRequest {
  // As it was typed; relative names start at the working directory.  "file:NAME" and "json:{…}" are
  // understood.
  std::string filename = {};
  // Empty: recognised by the first bytes, as qemu-img does for a named file.
  std::string format = {};
  bool image_opts = false;  // the filename is an option string (--image-opts)
  bool writable = false;
  bool with_backing = true;       // false: the layer alone
  bool backing_writable = false;  // of the layer right below
  std::string snapshot = {};      // shows an internal snapshot (-l)
  bool force_share = false;       // -U: nothing is claimed
  // Nobody will ask for the guest's data: an encrypted image is opened without its key, an external
  // data file is not opened (QEMU's BDRV_O_NO_IO).  What is read is undefined.
  bool metadata_only = false;
};

// Everything that opening needs to know about where it runs.
struct Context {
  World& world;
  storage::FileSystem& files;
  std::string working_directory;  // absolute
  Policy policy;
  std::map<std::string, std::string> secrets;       // --object secret: id to text
  std::function<void(std::string_view)> warn = {};  // gets QEMU's warnings; may be empty
};

// A name without a format is opened for writing and taken as raw.
void warn_of_raw(const Context& context, const std::string& name);
// The header shows that bitmaps were left alone while the image was changed.
void warn_of_bitmaps(const Context& context, const qcow2::Header& header);

// Errors name the file, the structure, the offset and the cure, in one line; for what QEMU refuses
// too they are QEMU's words ("Could not open 'NAME': …").
Task<Result<std::unique_ptr<Layer>>> open_chain(const Context& context, OpenRequest request);

// Claims a file that is opened as `name` (docs/decisions/locks.md); QEMU's words if others use it.
Result<> claim_file(storage::Storage& file, const std::string& name, const storage::Claim& claim);

// What open_chain says about `filename`, without the words that it could not be opened: for QEMU's
// texts that say so themselves.
std::string reason_of(const Error& error, const std::string& filename);

// `name` from the working directory, without "." and ".." (a link at its end is not resolved).
std::string absolute(const Context& context, const std::string& name);

// Refuses `path`, to which the image at `image_path` refers, if the policy forbids it.
Result<> confine(const Context& context, const std::string& image_path, const std::string& path);

// The path that the backing file's name inside the image at `image_path` means; refused if the
// policy forbids it.
Result<std::string> follow(const Context& context, const std::string& image_path,
                           const std::string& name);

// The name that QEMU would show for it: `name`, or the directory of `image_name` and `name`.
std::string compose_name(const std::string& image_name, const std::string& name);

// A file's name without the "file:" that may stand in front of it.
std::string without_protocol(const std::string& name);

}  // namespace sim::image
