// libvirt 9.0's errors: domain, code and text as the real one gives them.

#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "conformance/target/domain_error.h"

namespace conformance::errors {

// The largest bandwidth in bytes/s: LLONG_MAX.
inline constexpr std::uint64_t kMaxBandwidth = std::numeric_limits<std::int64_t>::max();

using Failure = std::unexpected<DomainFailure>;

inline Failure make(std::string_view domain, std::string_view code, std::string message) {
  return Failure(DomainError{std::string(domain), std::string(code), std::move(message)});
}
inline Failure qemu(std::string_view code, std::string message) {
  return make("QEMU", code, std::move(message));
}

// The public API's own checks (libvirt-domain.c).
inline Failure null_argument(const std::string& argument, const std::string& function) {
  return make("DOMAIN", "INVALID_ARG", argument + " in " + function + " must not be NULL");
}
inline Failure flags_need_copy() {
  return make("DOMAIN", "INVALID_ARG", "use of flags requires a copy job");
}

// `flags`: the unsupported bits alone.
Failure unsupported_flags(std::uint32_t flags, std::string_view function);
Failure bandwidth_overflow();
Failure bandwidth_bytes_overflow();

inline Failure relative_backing() {
  return qemu("ARGUMENT_UNSUPPORTED", "Relative backing during copy not supported yet");
}
inline Failure relative_without_base() {
  return qemu("INVALID_ARG",
              "flag VIR_DOMAIN_BLOCK_REBASE_RELATIVE is valid only with non-null base");
}
inline Failure relative_target() {
  return qemu("INVALID_ARG", "absolute path must be used as block copy target");
}
inline Failure no_such_disk(const std::string& disk) {
  return qemu("INVALID_ARG", "disk '" + disk + "' not found in domain");
}
// `mirrors`: the job is a copy or an active commit.
inline Failure job_active(const std::string& target, bool mirrors) {
  return qemu(mirrors ? "BLOCK_COPY_ACTIVE" : "OPERATION_UNSUPPORTED",
              "disk '" + target + "' already in active block job");
}
inline Failure not_relative() {
  return qemu("OPERATION_INVALID", "can't keep relative backing relationship");
}
// `active`, `top`, `base`: paths.
inline Failure active_flag_missing(const std::string& target) {
  return qemu("INVALID_ARG", "commit of '" + target + "' active layer requires active flag");
}
inline Failure top_not_active(const std::string& top) {
  return qemu("INVALID_ARG", "active commit requested but '" + top + "' is not active");
}
inline Failure nothing_beneath_top(const std::string& top, const std::string& active) {
  return qemu("INVALID_ARG", "top '" + top + "' in chain for '" + active + "' has no backing file");
}
inline Failure not_immediately_below(const std::string& base, const std::string& top,
                                     const std::string& active) {
  return qemu("INVALID_ARG", "base '" + base + "' is not immediately below '" + top +
                                 "' in chain for '" + active + "'");
}
inline Failure no_job(const std::string& target) {
  return qemu("INVALID_ARG", "disk " + target + " does not have an active block job");
}
inline Failure job_being_ended(const std::string& target) {
  return qemu("OPERATION_INVALID", "block job on disk '" + target + "' is still being ended");
}
inline Failure not_ready(const std::string& job) {
  return qemu("BLOCK_COPY_ACTIVE", "block job '" + job + "' not ready for pivot yet");
}
inline Failure failed_while_pivoting(const std::string& job, const std::string& reason) {
  return qemu("OPERATION_FAILED", "block job '" + job + "' failed while pivoting" +
                                      (reason.empty() ? "" : ": " + reason));
}
inline Failure odd_granularity() { return qemu("INVALID_ARG", "granularity must be power of 2"); }
inline Failure no_source() {
  return make("DOMAIN", "NO_SOURCE", "missing source information for device");
}
inline Failure not_translated(const std::string& pool, const std::string& volume) {
  return qemu("INTERNAL_ERROR",
              "storage source pool '" + pool + "' volume '" + volume + "' is not translated");
}
inline Failure not_transient() { return qemu("OPERATION_INVALID", "domain is not transient"); }
inline Failure backing_without_shallow() {
  return qemu("INVALID_ARG",
              "backingStore of mirror without VIR_DOMAIN_BLOCK_COPY_SHALLOW doesn't make sense");
}
inline Failure shallow_into_raw(const std::string& target) {
  return qemu("CONFIG_UNSUPPORTED",
              "shallow copy of disk '" + target + "' into a raw file is not possible");
}
inline Failure destination_exists(const std::string& target, const std::string& path) {
  return qemu("CONFIG_UNSUPPORTED", "external destination file for disk " + target +
                                        " already exists and is not a block device: " + path);
}
inline Failure destination_missing(const std::string& target, const std::string& path) {
  return qemu("SYSTEM_ERROR", "missing destination file for disk " + target + ": " + path +
                                  ": No such file or directory");
}
inline Failure not_a_block_device(const std::string& target, const std::string& path) {
  return qemu("INVALID_ARG", "blockdev flag requested for disk " + target + ", but file '" + path +
                                 "' is not a block device");
}
// `reason`: strerror's text.
inline Failure cannot_create(const std::string& reason) {
  return qemu("SYSTEM_ERROR", "failed to create copy target: " + reason);
}
inline Failure cannot_format(const std::string& reason) {
  return qemu("OPERATION_FAILED", "failed to format image: '" + reason + "'");
}
inline Failure no_capacity(const std::string& node) {
  return qemu("INTERNAL_ERROR", "failed to update capacity data for block node '" + node + "'");
}
inline Failure negative_speed() {
  return make("NONE", "INTERNAL_ERROR", "argument key 'speed' must not be negative");
}
// QEMU's refusal of a command.
inline Failure refused(std::string_view command, const std::string& desc) {
  return qemu("INTERNAL_ERROR",
              "unable to execute QEMU command '" + std::string(command) + "': " + desc);
}

// Finding an image in a chain (virStorageSourceChainLookup).
inline Failure no_base_image(const std::string& target) {
  return make("STORAGE", "INVALID_ARG", "could not find base image in chain for '" + target + "'");
}
inline Failure no_image(const std::string& name, const std::string& target) {
  return make("STORAGE", "INVALID_ARG",
              "could not find image '" + name + "' in chain for '" + target + "'");
}
inline Failure no_image_beneath(const std::string& name, const std::string& beneath,
                                const std::string& target) {
  return make("STORAGE", "INVALID_ARG",
              "could not find image '" + name + "' beneath '" + beneath + "' in chain for '" +
                  target + "'");
}
inline Failure no_index(unsigned index, const std::string& target) {
  return make("STORAGE", "INVALID_ARG",
              "could not find backing store index '" + std::to_string(index) + "' in chain for '" +
                  target + "'");
}
inline Failure other_target(const std::string& requested, const std::string& target) {
  return make("STORAGE", "INVALID_ARG",
              "requested target '" + requested + "' does not match target '" + target + "'");
}

// Finding the backing chain (storage_source.c).  Texts from the library; libvirt runs as root here.
inline Failure no_storage_file(const std::string& path) {
  return make(
      "STORAGE", "SYSTEM_ERROR",
      "Cannot access storage file '" + path + "' (as uid:0, gid:0): No such file or directory");
}
inline Failure no_backing_file(const std::string& path, const std::string& of) {
  return make("STORAGE", "SYSTEM_ERROR",
              "Cannot access backing file '" + path + "' of storage file '" + of +
                  "' (as uid:0, gid:0): No such file or directory");
}
inline Failure no_backing_format(const std::string& backing, const std::string& path) {
  return make("STORAGE", "OPERATION_INVALID",
              "format of backing image '" + backing + "' of image '" + path +
                  "' was not specified in the image metadata (See "
                  "https://libvirt.org/kbase/backing_chains.html for troubleshooting)");
}
inline Failure chain_too_deep(const std::string& path) {
  return make("STORAGE", "INTERNAL_ERROR",
              "backing store for " + path + " is self-referential or too deeply nested");
}

// As proposed: what libvirt has no words for.
inline Failure not_as_libvirt(const std::string& function) {
  return make("DOMAIN", "NO_SUPPORT",
              "this function is not supported by the connection driver: " + function);
}
inline Failure cursor_beyond_end(const std::string& target, std::uint64_t cursor,
                                 std::uint64_t end) {
  return qemu("INVALID_ARG", "cursor " + std::to_string(cursor) + " is beyond the end " +
                                 std::to_string(end) + " of disk '" + target + "'");
}
// `reason`: what qemu-io said.
inline Failure cannot_pull(const std::string& target, const std::string& reason) {
  return qemu("OPERATION_FAILED", "cannot pull into disk '" + target + "': " + reason);
}
inline Failure document_without_base() {
  return qemu("INVALID_ARG",
              "flag VIR_DOMAIN_BLOCK_REBASE_BASE_XML is valid only with non-null base");
}
inline Failure document_for_copy() {
  return qemu("INVALID_ARG",
              "flag VIR_DOMAIN_BLOCK_REBASE_BASE_XML is not valid for a copy: use blockCopy");
}
inline Failure other_base_format(const std::string& path, const std::string& is,
                                 const std::string& said) {
  return qemu("CONFIG_UNSUPPORTED", "image '" + path + "' in the chain is '" + is +
                                        "', the document says '" + said + "'");
}
inline Failure other_base_index(const std::string& path, unsigned is, unsigned said) {
  return qemu("CONFIG_UNSUPPORTED", "image '" + path + "' in the chain has index " +
                                        std::to_string(is) + ", the document says " +
                                        std::to_string(said));
}
inline Failure format_not_named(const std::string& target, const std::string& path) {
  return qemu("CONFIG_UNSUPPORTED", "format of the reused destination of disk '" + target +
                                        "' must be named, it is not probed: " + path);
}
inline Failure destination_not_empty(const std::string& target, const std::string& path) {
  return qemu("CONFIG_UNSUPPORTED",
              "reused destination of disk '" + target + "' is not empty: " + path);
}

// The code and the text of libvirt's own lock daemon (virlockspace.c; the text as libvirt 9.0's
// library holds it), which does not know the holder's name.
inline Failure leased(const std::string& path, const std::string& holder) {
  return make("LOCKSPACE", "RESOURCE_BUSY",
              "Lockspace resource '" + path + "' is locked by '" + holder + "'");
}
// `reason`: strerror's text.
inline Failure cannot_label(const std::string& path, const std::string& reason) {
  return make("SECURITY", "SYSTEM_ERROR",
              "unable to set security context on '" + path + "': " + reason);
}

// Ours: what this version leaves out.
inline Failure not_in_this_version(std::string what) {
  return make("UNDERSTUDY", "NOT_IN_THIS_VERSION", std::move(what) + " is not in this version");
}

}  // namespace conformance::errors
