#include "sim/world/trace.h"

#include <fmt/format.h>

#include <cstring>

namespace sim {

Trace::Record& Trace::next(std::uint64_t at_ns, const char* what) {
  mix(at_ns);
  for (const char* c = what; *c != '\0'; ++c) mix(static_cast<unsigned char>(*c));
  Record& record = last_[count_++ % last_.size()];
  record.at_ns = at_ns;
  record.what = what;
  return record;
}

void Trace::record(std::uint64_t at_ns, const char* what, std::string_view detail) {
  Record& record = next(at_ns, what);
  std::size_t at = 0;
  for (; at + 8 <= detail.size(); at += 8) {
    std::uint64_t word = 0;  // assembled, not copied: the hash must not depend on byte order
    for (std::size_t i = 0; i < 8; ++i)
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(detail[at + i])) << (8 * i);
    mix(word);
  }
  for (; at < detail.size(); ++at) mix(static_cast<unsigned char>(detail[at]));
  record.detail.assign(detail.substr(0, 200));
}

void Trace::record(std::uint64_t at_ns, const char* what, std::uint64_t a, std::uint64_t b) {
  Record& record = next(at_ns, what);
  mix(a);
  mix(b);
  record.a = a;
  record.b = b;
  record.detail.clear();
}

std::string Trace::last_lines() const {
  std::string text;
  const std::uint64_t from = count_ > last_.size() ? count_ - last_.size() : 0;
  for (std::uint64_t i = from; i < count_; ++i) {
    const Record& record = last_[i % last_.size()];
    text += fmt::format("{:>14} ns  {}", record.at_ns, record.what);
    text += record.detail.empty() ? fmt::format(" {:#x} {:#x}\n", record.a, record.b)
                                  : fmt::format(" {}\n", record.detail);
  }
  return text;
}

}  // namespace sim
