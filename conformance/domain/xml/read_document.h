// Text to Element, for documents from strangers.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "conformance/domain/xml/element.h"
#include "conformance/target/domain_error.h"

namespace conformance::xml {

inline constexpr std::size_t kMaxDocument = std::size_t{16} << 20;  // bytes
inline constexpr unsigned kMaxDepth = 256;                          // libxml2's own limit
inline constexpr std::size_t kMaxNodes = 32768;       // elements, texts, comments, instructions
inline constexpr std::size_t kMaxAttributes = 65536;  // of the whole document
inline constexpr std::size_t kMaxElementAttributes = 1000;  // libxml2 compares each with each

// What libvirt calls a kind of document.
struct DocumentKind {
  std::string_view root;          // "domain"
  std::string_view label;         // "(domain_definition)"
  std::string_view error_domain;  // of errors in its syntax: "DOMAIN"
};

// The root element.  What is outside it is dropped, and so is white space between elements.
//
// Not well-formed: {kind's domain, XML_DETAIL, "(domain_definition):1: …"} with libvirt's text but
// its second and third line, which quote the document.  Another root: XML/XML_ERROR.  A document
// type declaration, and what exceeds the limits above: UNDERSTUDY/DOCTYPE and UNDERSTUDY/LIMIT;
// libvirt accepts these.  Encodings: UTF-8, US-ASCII and ISO-8859-1; of others libvirt accepts
// those that iconv knows, here they are "Unsupported encoding".  No entity is expanded but XML's
// five, and nothing is loaded.
DomainResult<Element> read_document(const std::string& text, const DocumentKind& kind);

}  // namespace conformance::xml
