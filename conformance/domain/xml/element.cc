#include "conformance/domain/xml/element.h"

#include <algorithm>
#include <utility>

namespace conformance::xml {

Element Element::named(std::string_view name) {
  Element element;
  element.name = name;
  return element;
}

const std::string* Element::attribute(std::string_view attribute_name) const {
  const auto found = std::ranges::find(attributes, attribute_name, &Attribute::name);
  return found == attributes.end() ? nullptr : &found->value;
}

const Element* Element::child(std::string_view child_name) const {
  for (const Element& each : children)
    if (each.kind == Kind::element && each.name == child_name) return &each;
  return nullptr;
}

Element* Element::child(std::string_view child_name) {
  return const_cast<Element*>(std::as_const(*this).child(child_name));
}

std::string Element::text() const {
  std::string all;
  for (const Element& each : children)
    if (each.kind == Kind::text) all += each.content;
  return all;
}

Element& Element::set(std::string_view attribute_name, std::string_view value) {
  attributes.push_back({std::string(attribute_name), std::string(value)});
  return *this;
}

Element& Element::set_if(std::string_view attribute_name, std::string_view value) {
  return value.empty() ? *this : set(attribute_name, value);
}

Element& Element::add_text(std::string_view text) {
  if (text.empty()) return *this;
  Element node;
  node.kind = Kind::text;
  node.content = text;
  add(std::move(node));
  return *this;
}

Element& Element::add(Element child) {
  children.push_back(std::move(child));
  return children.back();
}

unsigned place_of(Names order, std::string_view name) {
  const auto found = std::ranges::find(order, name);
  return found == order.end() ? 0 : static_cast<unsigned>(found - order.begin()) + 1;
}

std::vector<Kept> keep_others(Element& parent, Names order, Names known) {
  std::vector<Kept> kept;
  unsigned last = 0;
  for (Element& child : parent.children) {
    const bool element = child.kind == Element::Kind::element;
    if (element) {
      if (const unsigned own = place_of(order, child.name); own != 0) last = own;
      if (place_of(known, child.name) != 0) continue;
    } else if (child.kind == Element::Kind::text) {
      continue;
    }
    kept.push_back({last, std::move(child)});
  }
  return kept;
}

std::vector<Attribute> other_attributes(const Element& element, Names known) {
  std::vector<Attribute> others;
  for (const Attribute& attribute : element.attributes)
    if (place_of(known, attribute.name) == 0) others.push_back(attribute);
  return others;
}

void arrange(Element& parent, Names order, std::vector<Element> made, std::vector<Kept> kept) {
  for (unsigned place = 0; place <= order.size(); ++place) {
    for (Element& each : made)
      if (place_of(order, each.name) == place) parent.add(std::move(each));
    for (Kept& each : kept)
      if (each.place == place) parent.add(std::move(each.element));
  }
}

void arrange_attributes(Element& element, Names order, const std::vector<Attribute>& others) {
  element.attributes.insert(element.attributes.end(), others.begin(), others.end());
  std::vector<Attribute> sorted;
  for (const std::string_view name : order)
    for (const Attribute& each : element.attributes)
      if (each.name == name) sorted.push_back(each);
  for (const Attribute& each : element.attributes)
    if (place_of(order, each.name) == 0) sorted.push_back(each);
  element.attributes = std::move(sorted);
}

namespace {

void escape(std::string& out, std::string_view text, bool in_attribute) {
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '\'':
        out += "&apos;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\r':
        out += "&#13;";
        break;
      case '\n':
        out += in_attribute ? "&#10;" : "\n";
        break;
      case '\t':
        out += in_attribute ? "&#9;" : "\t";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) out += c;
    }
  }
}

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  // One node and the line end behind it.
  void line(const Element& node, unsigned level) {
    out_.append(std::size_t{2} * level, ' ');
    write(node, level);
    out_ += '\n';
  }

 private:
  void write(const Element& node, unsigned level) {
    switch (node.kind) {
      case Element::Kind::text:
        escape(out_, node.content, false);
        return;
      case Element::Kind::comment:
        out_ += "<!--" + node.content + "-->";
        return;
      case Element::Kind::instruction:
        out_ += "<?" + node.name + (node.content.empty() ? "" : " ") + node.content + "?>";
        return;
      case Element::Kind::element:
        break;
    }
    out_ += "<" + node.name;
    for (const Attribute& attribute : node.attributes) {
      out_ += " " + attribute.name + "='";
      escape(out_, attribute.value, true);
      out_ += "'";
    }
    if (node.children.empty()) {
      out_ += "/>";
      return;
    }
    out_ += ">";
    within(node, level);
    out_ += "</" + node.name + ">";
  }

  void within(const Element& node, unsigned level) {
    const bool mixed = std::ranges::any_of(
        node.children, [](const Element& child) { return child.kind == Element::Kind::text; });
    if (mixed) {
      for (const Element& child : node.children) write(child, level);
      return;
    }
    out_ += '\n';
    for (const Element& child : node.children) line(child, level + 1);
    out_.append(std::size_t{2} * level, ' ');
  }

  std::string& out_;
};

}  // namespace

std::string format_element(const Element& element) {
  std::string text;
  Writer(text).line(element, 0);
  return text;
}

}  // namespace conformance::xml
