// Any text as each kind of document: refused, or read and written so that it stays the same.

#include <cstddef>
#include <cstdint>
#include <string>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/snapshot.h"
#include "conformance/domain/xml/volume.h"
#include "sim/base/check.h"

namespace {

using namespace conformance::xml;

// A text that was written may change once, as libvirt's does: of a cdrom that has become empty
// nothing more is known.  Then never again.
template <class Parse, class Format>
void check(const std::string& text, const Parse& parse, const Format& format) {
  const auto first = parse(text);
  if (!first) return;
  const auto second = parse(format(*first));
  CHECK(second.has_value(), "what was written can be read");
  const std::string once = format(*second);
  const auto third = parse(once);
  CHECK(third.has_value(), "what was written twice can be read");
  CHECK(*third == *second || format(*third) == once, "and is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const Form form : {Form::live, Form::inactive})
    check(
        text, [&](const std::string& t) { return parse_domain(t, form); },
        [&](const DomainXml& domain) { return format_domain(domain, form); });
  check(text, parse_volume, format_volume);
  check(
      text, [](const std::string& t) { return parse_domain_snapshot(t); }, format_domain_snapshot);
  return 0;
}
