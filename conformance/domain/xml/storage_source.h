// What a disk gets its bytes from: one image on the host and, recursively, what lies beneath it.
//
// All of this is of the image, nothing of the guest's device: when a block job replaces a disk's
// active layer, its StorageSource goes, with its own format, secrets and labels, and the DiskDevice
// stays (seeds: "backing chains in domain XML", 2014).

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/domain/xml/element.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

// live: the document of a running domain.  inactive: of a definition; libvirt ignores there, and
// does not write, what only a running domain has.
enum class Form : unsigned char { live, inactive };

enum class StorageType : unsigned char { file, block, dir, network, volume, nvme, vhostuser };

// The word in type='…'.
std::string_view name_of(StorageType type);
// Nothing if libvirt 9.0 has no such word.
std::optional<StorageType> storage_type_of(std::string_view name);

// Which of libvirt's secrets; never the secret.
struct SecretReference {
  enum class By : unsigned char { uuid, usage };
  std::string type;  // "ceph", "iscsi", "passphrase", …
  By by = By::uuid;
  std::string value;  // a uuid in lower case with four dashes, or a usage
  friend bool operator==(const SecretReference&, const SecretReference&) = default;
};

struct Authentication {
  std::string username;
  std::string type;  // "chap", "ceph" or not given
  SecretReference secret;
  friend bool operator==(const Authentication&, const Authentication&) = default;
};

struct Encryption {
  std::string format;  // "luks", "luks2", "qcow", "default"
  std::string engine;  // "qemu", "librbd" or not given
  std::vector<SecretReference> secrets;
  std::vector<Kept> others;  // <cipher> and <ivgen> of a volume
  friend bool operator==(const Encryption&, const Encryption&) = default;
};

struct SecurityLabel {
  std::string model;  // may be empty
  bool relabel = true;
  std::string label;
  bool label_skip = false;  // live: libvirt could not set it
  friend bool operator==(const SecurityLabel&, const SecurityLabel&) = default;
};

struct Host {
  std::string transport = "tcp";  // "tcp", "unix", "rdma"
  std::string name;
  unsigned port = 0;   // 0: none
  std::string socket;  // of "unix"
  friend bool operator==(const Host&, const Host&) = default;
};

struct StorageSource;

// What is known of the layer beneath.
class Backing {
 public:
  enum class Knowledge : unsigned char {
    unknown,     // no <backingStore>: nobody said, and nobody looked
    terminated,  // <backingStore/>: there is none
    known,       // <backingStore type='…'>
  };

  Backing();  // unknown
  static Backing terminated();
  static Backing of(StorageSource source);

  Backing(const Backing& other);  // copies the whole chain
  Backing(Backing&& other) noexcept;
  Backing& operator=(Backing other) noexcept;
  ~Backing();

  Knowledge knowledge() const { return knowledge_; }
  // The layer beneath; null unless it is known.  It belongs to this Backing.
  const StorageSource* source() const { return source_.get(); }
  StorageSource* source() { return source_.get(); }

  // Found by looking at the image instead of given in a document: such backing is not written to
  // inactive documents (virDomainDiskBackingStoreFormat).  Nothing that is parsed is detected.
  bool detected = false;

  friend bool operator==(const Backing& a, const Backing& b);

 private:
  Knowledge knowledge_ = Knowledge::unknown;
  std::unique_ptr<StorageSource> source_;
};

struct StorageSource {
  StorageType type = StorageType::file;
  std::string format;          // "qcow2", …; empty: not given
  std::string path;            // of file, block and dir
  std::string protocol, name;  // of network
  std::vector<Host> hosts;
  std::string pool, volume, mode;  // of volume
  unsigned index = 0;              // N of vda[N] and libvirt-N-format; 0: none
  std::optional<Authentication> auth;
  std::optional<Encryption> encryption;
  std::vector<SecurityLabel> labels;

  // What this room has no meaning for.
  std::vector<Attribute> other_attributes;   // of <source>
  std::vector<Kept> others;                  // in <source>
  std::vector<Attribute> format_attributes;  // of <format>; a disk's <driver> has its own
  std::vector<Kept> format_others;           // in <format>, or in a disk's <driver>
  std::vector<Attribute> layer_attributes;   // of <backingStore> or <mirror>
  std::vector<Kept> layer_others;            // in <backingStore> or <mirror>

  // Last, so that a source can be assigned from one beneath it: all else is copied by then.
  Backing backing;

  // Names no image, as an empty cdrom (virStorageSourceIsEmpty).
  bool empty() const;
  // What libvirt calls it in errors: path or network name; may be empty.
  const std::string& shown_name() const { return type == StorageType::network ? name : path; }

  friend bool operator==(const StorageSource&, const StorageSource&) = default;
};

// Layers beneath one image; libvirt's VIR_STORAGE_MAX_CHAIN_DEPTH when it looks for them itself.
inline constexpr unsigned kMaxChain = 200;

// The functions that take an Element& move parts out of it; what is left of it has no meaning.

// Reads <source> into `source`, whose type is set.  Errors are those of
// virDomainStorageSourceParse.  labelskip is read from live documents only.  The attributes index
// and startupPolicy are not read here.
DomainResult<void> parse_source(Element& element, Form form, StorageSource& source);
// index='N', of live documents only; 0: none.  XML_ERROR if it is no number.
DomainResult<unsigned> parse_index(const Element& element, Form form);
// Reads <format> and <source> of a <backingStore> or <mirror> of that type, as far as they are
// there.  XML_ERROR of virDomainStorageSourceParseBase, and parse_source's.
DomainResult<StorageSource> parse_layer(Element& element, Form form, const std::string& type);
// Reads the <backingStore> of `parent` (a <disk>, <backingStore> or <mirror>), and all beneath it,
// into `above`.  XML_ERROR of virDomainDiskBackingStoreParse and parse_layer's; more than kMaxChain
// layers are STORAGE/INTERNAL_ERROR.
DomainResult<void> parse_backing(Element& parent, Form form, StorageSource& above);
// Reads an <encryption>.  `of_volume`: <cipher> is accepted, which libvirt refuses for disks.
DomainResult<Encryption> parse_encryption(Element& element, bool of_volume);
// Reads an <auth>; `source` tells which secret type is right (rbd: ceph, iscsi: iscsi).
DomainResult<Authentication> parse_auth(const Element& element, const StorageSource& source);

// Which of a source's parts are written inside <source>: those of old documents stand in <disk>.
struct Inside {
  bool auth = true;
  bool encryption = true;
};
// <source …>; nothing if it would say nothing.  Labels of network sources are not written, as by
// libvirt.
std::optional<Element> format_source(const StorageSource& source, Inside inside = {});
// <backingStore>, or nothing where libvirt writes none.
std::optional<Element> format_backing(const Backing& backing, Form form);
// Fills a <backingStore> or <mirror>: <format>, <source> (with its index, if asked),
// <backingStore>.
void format_layer(Element& parent, const StorageSource& source, Form form, bool index_in_source);
Element format_encryption(const Encryption& encryption);
Element format_auth(const Authentication& auth);

}  // namespace conformance::xml
