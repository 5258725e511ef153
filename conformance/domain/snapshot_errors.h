// libvirt 9.0's errors of snapshots (measured: testdata/libvirt_9_0_snapshots.json and
// libvirt_9_0_snapshot_errors.json).

#pragma once

#include <string>
#include <string_view>

#include "conformance/domain/errors.h"

namespace conformance::errors {

inline Failure snapshot(std::string_view code, std::string message) {
  return make("DOMAIN_SNAPSHOT", code, std::move(message));
}

// Flags, in full: "VIR_DOMAIN_SNAPSHOT_CREATE_HALT".  `domain` is who looks: the public API or the
// driver.
inline Failure flag_requires(std::string_view domain, const std::string& flag,
                             const std::string& required) {
  return make(domain, "INVALID_ARG", "Flag '" + required + "' is required by flag '" + flag + "'");
}
inline Failure flags_exclude(std::string_view domain, const std::string& one,
                             const std::string& other) {
  return make(domain, "INVALID_ARG",
              "Flags '" + one + "' and '" + other + "' are mutually exclusive");
}
inline Failure halt_of_transient() {
  return qemu("OPERATION_INVALID", "cannot halt after transient domain snapshot");
}
inline Failure live_needs_memory() {
  return qemu("OPERATION_UNSUPPORTED",
              "live snapshot creation is supported only during full system snapshots");
}
inline Failure memory_left_out() {
  return qemu("OPERATION_UNSUPPORTED",
              "internal snapshot of a running VM must include the memory state");
}
inline Failure bad_snapshot_name(const std::string& name, std::string_view why) {
  return qemu("XML_DETAIL", "invalid snapshot name '" + name + "': name can't " + std::string(why));
}
inline Failure too_many_disks() {
  return snapshot("CONFIG_UNSUPPORTED", "too many disk snapshot requests for domain");
}
inline Failure no_disk_named(const std::string& name) {
  return snapshot("CONFIG_UNSUPPORTED", "no disk named '" + name + "'");
}
// `name` as the document gives it.
inline Failure disk_twice(const std::string& name) {
  return snapshot("CONFIG_UNSUPPORTED", "disk '" + name + "' specified twice");
}
inline Failure must_be_internal(const std::string& target) {
  return snapshot("CONFIG_UNSUPPORTED", "disk '" + target + "' must use snapshot mode 'internal'");
}
inline Failure must_be_external(const std::string& target) {
  return qemu("CONFIG_UNSUPPORTED", "active qemu domains require external disk snapshots; disk " +
                                        target + " requested internal");
}
inline Failure no_internal_snapshots(const std::string& target, const std::string& format) {
  return qemu("CONFIG_UNSUPPORTED",
              "internal snapshot for disk " + target + " unsupported for storage type " + format);
}
inline Failure mixed_snapshot() {
  return qemu("CONFIG_UNSUPPORTED",
              "mixing internal and external targets for a snapshot is not yet supported");
}
inline Failure nothing_selected() {
  return qemu("CONFIG_UNSUPPORTED", "nothing selected for snapshot");
}
inline Failure bad_overlay_format(const std::string& target, const std::string& format) {
  return qemu("CONFIG_UNSUPPORTED",
              "external snapshot format for disk " + target + " is unsupported: " + format);
}
inline Failure overlay_exists(const std::string& target, const std::string& path) {
  return qemu("CONFIG_UNSUPPORTED", "external snapshot file for disk " + target +
                                        " already exists and is not a block device: " + path);
}
inline Failure overlay_missing(const std::string& target, const std::string& path) {
  return qemu("SYSTEM_ERROR", "missing existing file for disk " + target + ": " + path +
                                  ": No such file or directory");
}
// `reason`: strerror's text.
inline Failure cannot_create_overlay(const std::string& path, const std::string& reason) {
  return qemu("SYSTEM_ERROR", "failed to create image file '" + path + "': " + reason);
}
inline Failure not_running() { return qemu("OPERATION_INVALID", "domain is not running"); }
inline Failure no_agent() {
  return qemu("ARGUMENT_UNSUPPORTED", "QEMU guest agent is not configured");
}
inline Failure snapshot_exists(const std::string& name) {
  return make("DOMAIN", "OPERATION_FAILED", "domain moment " + name + " already exists");
}
inline Failure snapshot_failed(const std::string& said) {
  return qemu("OPERATION_FAILED", "Failed to take snapshot: " + said);
}

// Redefining.
inline Failure own_parent(const std::string& name) {
  return make("DOMAIN", "INVALID_ARG", "cannot set moment " + name + " as its own parent");
}
inline Failure no_parent(const std::string& parent, const std::string& name) {
  return make("DOMAIN", "INVALID_ARG", "parent " + parent + " for moment " + name + " not found");
}
inline Failure parent_cycle(const std::string& parent, const std::string& name) {
  return make("DOMAIN", "INVALID_ARG", "parent " + parent + " would create cycle to " + name);
}
inline Failure changes_state(const std::string& name) {
  return snapshot("INVALID_ARG",
                  "cannot change between online and offline snapshot state in snapshot " + name);
}
inline Failure no_domain() { return snapshot("INTERNAL_ERROR", "missing domain in snapshot"); }

// Deleting and reverting.
inline Failure no_snapshot(const std::string& name) {
  return qemu("NO_DOMAIN_SNAPSHOT", "no domain snapshot with matching name '" + name + "'");
}
inline Failure job_forbids_delete() {
  return qemu("OPERATION_UNSUPPORTED",
              "cannot delete external snapshots when there is another active block job");
}
inline Failure external_children() {
  return qemu("CONFIG_UNSUPPORTED", "deletion of external children disk snapshots not supported");
}
inline Failure external_with_children() {
  return qemu("CONFIG_UNSUPPORTED",
              "deletion of external disk snapshots with children not supported");
}
inline Failure internal_elsewhere(const std::string& target, const std::string& name) {
  return qemu("OPERATION_UNSUPPORTED", "disk image '" + target + "' for internal snapshot '" +
                                           name +
                                           "' is not the same as disk image currently used by VM");
}
inline Failure internal_parent() {
  return qemu("OPERATION_UNSUPPORTED",
              "deleting external snapshot that has internal snapshot as parent not supported");
}
inline Failure overlay_not_in_chain() {
  return make("STORAGE", "INVALID_ARG", "could not find base disk source in disk source chain");
}
inline Failure nothing_beneath_overlay() {
  return qemu("OPERATION_FAILED", "failed to find parent disk source in backing chain");
}
inline Failure other_beneath_overlay() {
  return qemu("OPERATION_FAILED",
              "snapshot VM disk source and parent disk source are not the same");
}
inline Failure merge_failed(const std::string& target, const std::string& why) {
  return qemu("OPERATION_FAILED",
              "block commit failed while deleting disk '" + target + "' snapshot: '" + why + "'");
}
inline Failure delete_failed(const std::string& said) {
  return qemu("OPERATION_FAILED", "Failed to delete snapshot: " + said);
}
inline Failure revert_failed(const std::string& said) {
  return qemu("OPERATION_FAILED", "Failed to load snapshot: " + said);
}
inline Failure job_forbids_revert() {
  return qemu("OPERATION_INVALID", "domain has active block job");
}
inline Failure revert_needs_state() {
  return qemu("OPERATION_INVALID",
              "transient domain needs to request run or pause to revert to inactive snapshot");
}
inline Failure cannot_revert_external() {
  return qemu("CONFIG_UNSUPPORTED", "revert to external snapshot not supported yet");
}

}  // namespace conformance::errors
