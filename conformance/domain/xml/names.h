// The words that libvirt 9.0 accepts in enumerated attributes, and its order of siblings: measured.

#pragma once

#include <array>
#include <string_view>

#include "conformance/domain/xml/element.h"

namespace conformance::xml::names {

using namespace std::string_view_literals;

inline constexpr std::array kDevices{"disk"sv, "cdrom"sv, "floppy"sv, "lun"sv};
inline constexpr std::array kBuses{"ide"sv, "fdc"sv, "scsi"sv, "virtio"sv, "xen"sv,
                                   "usb"sv, "uml"sv, "sata"sv, "sd"sv};
inline constexpr std::array kFormats{"raw"sv,  "dir"sv,   "bochs"sv, "cloop"sv, "dmg"sv,   "iso"sv,
                                     "vpc"sv,  "vdi"sv,   "fat"sv,   "vhd"sv,   "ploop"sv, "cow"sv,
                                     "qcow"sv, "qcow2"sv, "qed"sv,   "vmdk"sv};
inline constexpr std::array kCaches{"default"sv,   "none"sv,       "writethrough"sv,
                                    "writeback"sv, "directsync"sv, "unsafe"sv};
inline constexpr std::array kIo{"native"sv, "threads"sv, "io_uring"sv};
inline constexpr std::array kDiscard{"unmap"sv, "ignore"sv};
inline constexpr std::array kDetectZeroes{"on"sv, "off"sv, "unmap"sv};
inline constexpr std::array kSnapshots{"no"sv, "internal"sv, "external"sv, "manual"sv};
inline constexpr std::array kStartupPolicies{"mandatory"sv, "requisite"sv, "optional"sv};
inline constexpr std::array kProtocols{"none"sv,  "nbd"sv,  "rbd"sv,   "sheepdog"sv, "gluster"sv,
                                       "iscsi"sv, "http"sv, "https"sv, "ftp"sv,      "ftps"sv,
                                       "tftp"sv,  "ssh"sv,  "vxhs"sv,  "nfs"sv};
inline constexpr std::array kTransports{"tcp"sv, "unix"sv, "rdma"sv};
inline constexpr std::array kVolumeModes{"host"sv, "direct"sv};
inline constexpr std::array kAuthTypes{"chap"sv, "ceph"sv};
inline constexpr std::array kSecretTypes{"none"sv,  "volume"sv, "ceph"sv,
                                         "iscsi"sv, "tls"sv,    "vtpm"sv};
inline constexpr std::array kEncryptionFormats{"default"sv, "qcow"sv, "luks"sv, "luks2"sv};
inline constexpr std::array kEncryptionEngines{"qemu"sv, "librbd"sv};
inline constexpr std::array kYesNo{"yes"sv, "no"sv};
inline constexpr std::array kMirrorJobs{"copy"sv, "active-commit"sv};
inline constexpr std::array kMirrorReady{"yes"sv, "abort"sv, "pivot"sv};
inline constexpr std::array kSnapshotStates{"running"sv,     "blocked"sv,      "paused"sv,
                                            "shutdown"sv,    "shutoff"sv,      "crashed"sv,
                                            "pmsuspended"sv, "disk-snapshot"sv};
inline constexpr std::array kVolumeTypes{"file"sv,    "block"sv,  "dir"sv,
                                         "network"sv, "netdir"sv, "ploop"sv};

// Siblings.
inline constexpr std::array kDiskAttributes{"type"sv,  "device"sv, "model"sv,
                                            "rawio"sv, "sgio"sv,   "snapshot"sv};
inline constexpr std::array kDriverAttributes{
    "name"sv,     "type"sv,          "cache"sv,      "error_policy"sv, "rerror_policy"sv,
    "io"sv,       "ioeventfd"sv,     "event_idx"sv,  "copy_on_read"sv, "discard"sv,
    "iothread"sv, "detect_zeroes"sv, "queues"sv,     "queue_size"sv,   "iommu"sv,
    "ats"sv,      "packed"sv,        "page_per_vq"sv};
inline constexpr std::array kTargetAttributes{"dev"sv, "bus"sv, "tray"sv, "removable"sv,
                                              "rotation_rate"sv};
inline constexpr std::array kDiskChildren{
    "driver"sv,    "auth"sv,   "source"sv, "backingStore"sv, "backenddomain"sv, "geometry"sv,
    "blockio"sv,   "mirror"sv, "target"sv, "iotune"sv,       "readonly"sv,      "shareable"sv,
    "transient"sv, "serial"sv, "wwn"sv,    "vendor"sv,       "product"sv,       "encryption"sv,
    "boot"sv,      "alias"sv,  "address"sv};
inline constexpr std::array kSourceAttributes{
    "type"sv, "managed"sv,     "namespace"sv, "protocol"sv, "name"sv,          "query"sv,
    "tls"sv,  "tlsHostname"sv, "file"sv,      "fdgroup"sv,  "dev"sv,           "dir"sv,
    "pool"sv, "volume"sv,      "mode"sv,      "path"sv,     "startupPolicy"sv, "index"sv};
inline constexpr std::array kSourceChildren{
    "address"sv,  "host"sv,      "snapshot"sv,     "config"sv,    "initiator"sv, "ssl"sv,
    "cookies"sv,  "readahead"sv, "timeout"sv,      "reconnect"sv, "identity"sv,  "slices"sv,
    "seclabel"sv, "auth"sv,      "reservations"sv, "encryption"sv};

// <backingStore> and <mirror>: file, format, job and ready are a mirror's.
inline constexpr std::array kLayerAttributes{"type"sv,   "index"sv, "file"sv,
                                             "format"sv, "job"sv,   "ready"sv};
inline constexpr std::array kLayerChildren{"format"sv, "source"sv, "backingStore"sv};

// True if `value` is one of `words`.
inline bool has(Names words, std::string_view value) { return place_of(words, value) != 0; }

}  // namespace conformance::xml::names
