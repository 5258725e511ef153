// Errors of documents, as libvirt 9.0 gives them: measured on its test and QEMU drivers, and ours
// where it has none.

#pragma once

#include <string>
#include <string_view>

#include "conformance/target/domain_error.h"

namespace conformance::xml::errors {

using Failure = std::unexpected<DomainFailure>;

inline Failure make(std::string_view domain, std::string_view code, std::string message) {
  return Failure(DomainError{std::string(domain), std::string(code), std::move(message)});
}
inline Failure domain_xml(std::string message) {
  return make("DOMAIN", "XML_ERROR", std::move(message));
}
inline Failure unsupported(std::string_view domain, std::string message) {
  return make(domain, "CONFIG_UNSUPPORTED", std::move(message));
}

// Ours: a limit that libvirt leaves to its transport, or does not have.
inline Failure beyond_limit(std::string message) {
  return make("UNDERSTUDY", "LIMIT", std::move(message));
}
// Ours: libvirt expands entities.
inline Failure doctype() {
  return make("UNDERSTUDY", "DOCTYPE", "a document type declaration is not accepted");
}

// An enumerated attribute (virXMLPropEnum).
inline Failure bad_value(std::string_view attribute, std::string_view element,
                         const std::string& value) {
  return make("XML", "XML_ERROR",
              "Invalid value for attribute '" + std::string(attribute) + "' in element '" +
                  std::string(element) + "': '" + value + "'.");
}
inline Failure missing_attribute(std::string_view attribute, std::string_view element) {
  return make("XML", "XML_ERROR",
              "Missing required attribute '" + std::string(attribute) + "' in element '" +
                  std::string(element) + "'");
}
inline Failure other_root(std::string_view expected, const std::string& found) {
  return make("XML", "XML_ERROR",
              "expecting root element of '" + std::string(expected) + "', not '" + found + "'");
}

// `device`: the target's name.
inline Failure no_source(const std::string& device) {
  return make("DOMAIN", "NO_SOURCE", "missing source information for device " + device);
}
// `source`: what it was to show, or nothing.
inline Failure no_target(const std::string& source) {
  return make("DOMAIN", "NO_TARGET",
              "missing target information for device" + (source.empty() ? "" : " " + source));
}
// An empty source is shown as "<null>".
inline Failure duplicate_target(const std::string& target, const std::string& first,
                                const std::string& second) {
  const auto shown = [](const std::string& path) { return path.empty() ? "<null>" : path; };
  return domain_xml("target '" + target + "' duplicated for disk sources '" + shown(first) +
                    "' and '" + shown(second) + "'");
}
inline Failure chain_too_deep(const std::string& path) {
  return make("STORAGE", "INTERNAL_ERROR",
              "backing store for " + path + " is self-referential or too deeply nested");
}

// libvirt's text goes on with the value; it may be a passphrase in the wrong place.
inline Failure bad_secret_uuid() { return make("NONE", "XML_ERROR", "invalid secret uuid"); }

}  // namespace conformance::xml::errors
