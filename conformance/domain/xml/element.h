// An XML document as a value: elements, attributes, text, in the order they were written.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conformance::xml {

struct Attribute {
  std::string name;  // with its prefix: "xmlns:qemu"
  std::string value;
  friend bool operator==(const Attribute&, const Attribute&) = default;
};

struct Element {
  enum class Kind : unsigned char { element, text, comment, instruction };

  Kind kind = Kind::element;
  std::string name;     // of an element, with its prefix; the target of an instruction
  std::string content;  // of text, comment and instruction
  std::vector<Attribute> attributes;
  std::vector<Element> children;

  // An element without attributes.
  static Element named(std::string_view name);

  // The attribute's value, or null.  It belongs to this element.
  const std::string* attribute(std::string_view attribute_name) const;
  // The first child element of that name, or null.  It belongs to this element.
  const Element* child(std::string_view child_name) const;
  Element* child(std::string_view child_name);
  // All text directly within.
  std::string text() const;

  // Appends an attribute, or text, and returns this element.  An empty text is not appended.
  Element& set(std::string_view attribute_name, std::string_view value);
  Element& add_text(std::string_view text);
  // The same, unless the value is empty.
  Element& set_if(std::string_view attribute_name, std::string_view value);
  // Appends a child and returns it; a later append to this element invalidates the reference.
  Element& add(Element child);

  friend bool operator==(const Element&, const Element&) = default;
};

// An element that this room has no meaning for, and where it stood: `place` is the position, in
// libvirt's order of siblings, of itself if libvirt knows it, or of the last one before it that
// libvirt knows; 0 is before all.
struct Kept {
  unsigned place = 0;
  Element element;
  friend bool operator==(const Kept&, const Kept&) = default;
};

using Names = std::span<const std::string_view>;

// The position of `name` in `order`, from 1; 0 if it is not there.
unsigned place_of(Names order, std::string_view name);

// Moves the children of `parent` that are not named in `known` out of it, with their places in
// `order`.  Text between them is dropped: it has no meaning there.
std::vector<Kept> keep_others(Element& parent, Names order, Names known);
// The attributes of `element` that are not named in `known`.
std::vector<Attribute> other_attributes(const Element& element, Names known);

// The opposite: puts `made` and `kept` into `parent` in `order`; kept ones follow made ones of the
// same place.
void arrange(Element& parent, Names order, std::vector<Element> made, std::vector<Kept> kept);
// Adds `others` and puts all of the element's attributes in `order`; unnamed ones come last.
void arrange_attributes(Element& element, Names order, const std::vector<Attribute>& others);

// The element as text in libvirt's layout: two spaces a level, attributes in single quotes, a line
// end behind it.  Elements that mix text and elements are written as they are.  Control characters,
// which XML cannot express, are left out.
std::string format_element(const Element& element);

}  // namespace conformance::xml
