// The host side of a disk: one image and, beneath it, its backing chain.

#pragma once

#include <memory>
#include <string>

namespace conformance {

// What libvirt knows about what lies beneath an image.
enum class Backing : unsigned char {
  unknown,     // nothing was said and nobody looked: the live XML has no <backingStore>
  terminated,  // known to have none: <backingStore/>
  known,       // Source::beneath is set
};

struct Source {
  std::string path;    // absolute
  std::string format;  // "qcow2", "raw"
  // How the header of the image above named it when the chain was read, if by a relative name.
  std::string relative;
  // N of the nodes libvirt-N-storage and libvirt-N-format; never used twice in one domain.
  // 0: not given yet.
  unsigned index = 0;
  // The format node's name where QEMU made it up, because it opened the image by itself.
  std::string generated_node = {};
  // Which of its two nodes were added (QEMU removes those that it opened by itself), and whether
  // the secret object that the latter uses was.
  bool storage_open = false;
  bool format_open = false;
  bool secret_there = false;
  std::string passphrase;  // <encryption format='luks'>; empty: it is not encrypted
  Backing backing = Backing::unknown;
  std::unique_ptr<Source> beneath;  // set exactly when `backing` is known

  std::string storage_node() const { return "libvirt-" + std::to_string(index) + "-storage"; }
  std::string format_node() const { return generated_node.empty() ? own_node() : generated_node; }
  // What libvirt calls the format node, and its jobs after it.
  std::string own_node() const { return "libvirt-" + std::to_string(index) + "-format"; }
  std::string secret() const { return own_node() + "-encryption-secret0"; }
};

// True of formats that can name a backing file.
inline bool can_have_backing(const std::string& format) { return format == "qcow2"; }

}  // namespace conformance
