// Reading testdata, and comparing documents by their disks.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

#include "conformance/domain/xml/read_document.h"

namespace conformance::xml {

inline std::string testdata(const std::string& name) {
  std::ifstream in(std::string(UNDERSTUDY_SOURCE_DIR "/conformance/domain/xml/testdata/") + name);
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_FALSE(text.view().empty()) << name;
  return text.str();
}

inline Element document(const std::string& text, std::string_view root = "domain") {
  auto read = read_document(text, {root, "(test)", "TEST"});
  EXPECT_TRUE(read.has_value());
  return read ? std::move(*read) : Element{};
}

// Attributes have no order, and the line end that libvirt writes into an empty <encryption> has no
// meaning.
inline void sort_attributes(Element& element) {
  if (element.name == "encryption" && element.child("secret") == nullptr) element.children.clear();
  std::ranges::sort(element.attributes, {}, &Attribute::name);
  for (Element& child : element.children) sort_attributes(child);
}

// Each <disk> of <devices> as text, by its target.
inline std::map<std::string, std::string> disks_of(const std::string& text) {
  std::map<std::string, std::string> disks;
  const Element root = document(text);
  const Element* devices = root.child("devices");
  if (devices == nullptr) return disks;
  for (Element child : devices->children) {
    sort_attributes(child);
    if (child.name != "disk") continue;
    const Element* target = child.child("target");
    const std::string* dev = target == nullptr ? nullptr : target->attribute("dev");
    disks[dev == nullptr ? "" : *dev] = format_element(child);
  }
  return disks;
}

// libvirt's test driver gives addresses to disks on controllers; nothing else of what it does to a
// disk lies outside the parser.
inline std::string without_assigned_address(std::string disk, const std::string& given) {
  const std::size_t at = disk.find("  <address ");
  if (at != std::string::npos && !given.contains("<address "))
    disk.erase(at, disk.find('\n', at) + 1 - at);
  return disk;
}

inline DomainError error_of(const DomainFailure& failure) {
  const auto* error = std::get_if<DomainError>(&failure);
  EXPECT_NE(error, nullptr);
  return error == nullptr ? DomainError{} : *error;
}

// A domain with one disk's XML.
inline std::string domain_with(const std::string& disks) {
  return "<domain type='test'><name>d</name><devices>" + disks + "</devices></domain>";
}

}  // namespace conformance::xml
