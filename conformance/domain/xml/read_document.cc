#include "conformance/domain/xml/read_document.h"

#include <fmt/format.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "conformance/domain/xml/errors.h"

namespace conformance::xml {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

errors::Failure syntax(const DocumentKind& kind, int line, std::string_view message) {
  return errors::make(kind.error_domain, "XML_DETAIL",
                      fmt::format("{}:{}: {}", kind.label, line, message));
}

enum class Encoding : unsigned char { utf8, latin1 };

// The encoding that the XML declaration names; nothing if it is none of ours.
std::optional<Encoding> encoding_of(std::string_view text, std::string& name) {
  if (!text.starts_with("<?xml")) return Encoding::utf8;
  const std::string_view declaration = text.substr(0, std::min<std::size_t>(text.find("?>"), 1024));
  const std::size_t word = declaration.find("encoding");
  if (word == std::string_view::npos) return Encoding::utf8;
  const std::size_t open = declaration.find_first_of("'\"", word);
  if (open == std::string_view::npos) return Encoding::utf8;  // malformed: libxml2 says how
  const std::size_t close = declaration.find(declaration[open], open + 1);
  if (close == std::string_view::npos) return Encoding::utf8;
  name = declaration.substr(open + 1, close - open - 1);
  std::string upper = name;
  std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return std::toupper(c); });
  if (upper == "UTF-8" || upper == "UTF8" || upper == "US-ASCII" || upper == "ASCII")
    return Encoding::utf8;
  if (upper == "ISO-8859-1" || upper == "ISO-LATIN-1" || upper == "LATIN1") return Encoding::latin1;
  return std::nullopt;
}

// True if a start tag has more attributes than we accept.  Its '=' outside quotes are counted;
// where the text is no XML this may lose its way, but libxml2 stops there.
bool too_many_attributes(std::string_view text) {
  const auto skip = [&](std::size_t at, std::string_view end) {
    const std::size_t found = text.find(end, at);
    return found == std::string_view::npos ? text.size() : found + end.size();
  };
  std::size_t at = 0;
  while ((at = text.find('<', at)) != std::string_view::npos) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("<!--")) {
      at = skip(at + 4, "-->");
    } else if (rest.starts_with("<![CDATA[")) {
      at = skip(at, "]]>");
    } else if (rest.starts_with("<?")) {
      at = skip(at, "?>");
    } else {
      std::size_t count = 0;
      for (++at; at < text.size() && text[at] != '>' && text[at] != '<'; ++at) {
        if (text[at] == '=' && ++count > kMaxElementAttributes) return true;
        if (text[at] != '"' && text[at] != '\'') continue;
        at = text.find(text[at], at + 1);
        if (at == std::string_view::npos) return false;
      }
    }
  }
  return false;
}

// The first line, without what libxml2 quotes.
std::string shown(std::string_view message) {
  message = message.substr(0, message.find('\n'));
  message = message.substr(0, message.find(": <!--"));
  if (message.size() > 200) message = message.substr(0, 200);
  while (!message.empty() && (message.back() & 0xc0) == 0x80) message.remove_suffix(1);
  return std::string(message);
}

class Parse {
 public:
  Parse(std::string_view text, Encoding encoding, const DocumentKind& kind)
      : text_(text), encoding_(encoding), kind_(kind) {}

  DomainResult<Element> run() {
    xmlSAXHandler handler{};
    handler.initialized = XML_SAX2_MAGIC;
    handler.startElementNs = start;
    handler.endElementNs = [](void* self, const xmlChar*, const xmlChar*, const xmlChar*) {
      static_cast<Parse*>(self)->end();
    };
    handler.characters = handler.ignorableWhitespace =
        handler.cdataBlock = [](void* self, const xmlChar* data, int size) {
          static_cast<Parse*>(self)->characters({of(data), static_cast<std::size_t>(size)});
        };
    handler.comment = [](void* self, const xmlChar* data) {
      static_cast<Parse*>(self)->other(Element::Kind::comment, "", of(data));
    };
    handler.processingInstruction = [](void* self, const xmlChar* target, const xmlChar* data) {
      static_cast<Parse*>(self)->other(Element::Kind::instruction, of(target), of(data));
    };
    handler.internalSubset = [](void* self, const xmlChar*, const xmlChar*, const xmlChar*) {
      static_cast<Parse*>(self)->fail(errors::doctype());
    };
    handler.serror = [](void* self, xmlErrorPtr error) {
      static_cast<Parse*>(self)->libxml_says(*error);
    };
    std::unique_ptr<xmlParserCtxt, decltype(&xmlFreeParserCtxt)> context(
        xmlCreateIOParserCtxt(&handler, this, read, nullptr, this, XML_CHAR_ENCODING_NONE),
        &xmlFreeParserCtxt);
    if (!context) return errors::beyond_limit("out of memory");
    context_ = context.get();
    // NOENT: '&' in attributes as it is, not escaped once more.  There are no entities but XML's
    // own: a document type declaration ends the parse before it could declare one.
    xmlCtxtUseOptions(
        context_, XML_PARSE_NONET | XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC | XML_PARSE_NOENT);
    // Named, so that it is not guessed from the first bytes.
    context_->encoding = xmlStrdup(reinterpret_cast<const xmlChar*>("UTF-8"));
    xmlParseDocument(context_);
    if (failure_) return std::move(*failure_);
    if (!root_ || !open_.empty()) return syntax(kind_, 1, "Document is empty");
    return std::move(*root_);
  }

 private:
  static const char* of(const xmlChar* text) {
    return text == nullptr ? "" : reinterpret_cast<const char*>(text);
  }
  static std::string qualified(const xmlChar* prefix, const xmlChar* name) {
    return prefix == nullptr ? of(name) : std::string(of(prefix)) + ":" + of(name);
  }

  static int read(void* self, char* buffer, int size) {
    return static_cast<Parse*>(self)->next(buffer, static_cast<std::size_t>(size));
  }
  int next(char* buffer, std::size_t size) {
    if (encoding_ == Encoding::utf8) {
      const std::size_t count = std::min(size, text_.size() - at_);
      std::memcpy(buffer, text_.data() + at_, count);
      at_ += count;
      return static_cast<int>(count);
    }
    std::size_t count = 0;
    for (; at_ < text_.size() && count + 2 <= size; ++at_) {
      const auto byte = static_cast<unsigned char>(text_[at_]);
      if (byte >= 0x80) buffer[count++] = static_cast<char>(0xc0 | (byte >> 6));
      buffer[count++] = static_cast<char>(byte < 0x80 ? byte : 0x80 | (byte & 0x3f));
    }
    return static_cast<int>(count);
  }

  void fail(errors::Failure failure) {
    if (!failure_) failure_ = std::move(failure);
    xmlStopParser(context_);
  }
  // Namespaces that are not declared are no error, as for libvirt.
  void libxml_says(const xmlError& error) {
    if (error.level != XML_ERR_FATAL || failure_) return;
    fail(syntax(kind_, error.line, shown(error.message == nullptr ? "" : error.message)));
  }

  // False if it is one too many.
  bool count(std::size_t& counter, std::size_t more, std::size_t limit, std::string_view what) {
    counter += more;
    if (counter <= limit) return true;
    fail(errors::beyond_limit(fmt::format("a document with more than {} {}", limit, what)));
    return false;
  }
  bool count_node() { return count(nodes_, 1, kMaxNodes, "nodes"); }

  static void start(void* self, const xmlChar* name, const xmlChar* prefix, const xmlChar*,
                    int namespace_count, const xmlChar** namespaces, int attribute_count, int,
                    const xmlChar** attributes) {
    Parse& parse = *static_cast<Parse*>(self);
    const auto total =
        static_cast<std::size_t>(namespace_count) + static_cast<std::size_t>(attribute_count);
    if (!parse.count_node() || !parse.count(parse.attributes_, total, kMaxAttributes, "attributes"))
      return;
    Element element = Element::named(qualified(prefix, name));
    element.attributes.reserve(total);
    for (int i = 0; i < namespace_count; ++i)
      element.set(
          namespaces[2 * i] == nullptr ? "xmlns" : std::string("xmlns:") + of(namespaces[2 * i]),
          of(namespaces[2 * i + 1]));
    for (int i = 0; i < attribute_count; ++i) {
      const xmlChar** five = attributes + std::ptrdiff_t{5} * i;  // name prefix uri value end
      element.set(qualified(five[1], five[0]),
                  {of(five[3]), static_cast<std::size_t>(five[4] - five[3])});
    }
    parse.begin(std::move(element));
  }

  // Only the last child of an open element is open: references to these stay good.
  void begin(Element element) {
    if (open_.empty()) {
      root_ = std::move(element);
      open_.push_back(&*root_);
    } else {
      open_.push_back(&open_.back()->add(std::move(element)));
    }
  }
  void end() {
    if (open_.empty()) return;
    Element& element = *open_.back();
    open_.pop_back();
    const auto is_element = [](const Element& e) { return e.kind == Element::Kind::element; };
    if (std::ranges::any_of(element.children, is_element))
      std::erase_if(element.children, [](const Element& child) {
        return child.kind == Element::Kind::text &&
               child.content.find_first_not_of(" \t\r\n") == std::string::npos;
      });
  }
  // A long text gets room for all that is left, once: to grow step by step would take twice as
  // much.
  void append(std::string& content, std::string_view data) {
    constexpr std::size_t kLong = std::size_t{1} << 20;
    if (content.size() >= kLong && content.capacity() - content.size() < data.size())
      content.reserve(content.size() + data.size() + 2 * (text_.size() - at_) + kLong);
    content += data;
  }
  void characters(std::string_view data) {
    if (open_.empty() || data.empty()) return;
    std::vector<Element>& siblings = open_.back()->children;
    if (!siblings.empty() && siblings.back().kind == Element::Kind::text)
      append(siblings.back().content, data);
    else if (count_node())
      open_.back()->add_text(data);
  }
  void other(Element::Kind kind, std::string_view name, std::string_view data) {
    if (open_.empty() || !count_node()) return;
    Element element = Element::named(name);
    element.kind = kind;
    element.content = data;
    open_.back()->add(std::move(element));
  }

  std::string_view text_;
  Encoding encoding_;
  const DocumentKind& kind_;
  std::size_t at_ = 0;
  xmlParserCtxtPtr context_ = nullptr;
  std::optional<errors::Failure> failure_;
  std::optional<Element> root_;
  std::vector<Element*> open_;
  std::size_t nodes_ = 0;
  std::size_t attributes_ = 0;
};

}  // namespace

DomainResult<Element> read_document(const std::string& text, const DocumentKind& kind) {
  if (text.size() > kMaxDocument)
    return errors::beyond_limit(fmt::format("a document of more than {} bytes", kMaxDocument));
  std::string_view rest = text;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());
  if (rest.empty()) return syntax(kind, 1, "Document is empty");
  if (rest.contains('\0')) return syntax(kind, 1, "Input is not proper UTF-8, indicate encoding !");
  std::string name;
  const std::optional<Encoding> encoding = encoding_of(rest, name);
  if (!encoding) return syntax(kind, 1, shown("Unsupported encoding " + name));
  if (too_many_attributes(rest))
    return errors::beyond_limit(
        fmt::format("an element with more than {} attributes", kMaxElementAttributes));
  auto root = Parse(rest, *encoding, kind).run();
  if (root && root->name != kind.root) return errors::other_root(kind.root, root->name);
  return root;
}

}  // namespace conformance::xml
