// Any bytes as what a client sends: read whole and in pieces they mean the same, and what was read
// is read again from what is written.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/check.h"
#include "sim/qmp/json_reader.h"
#include "sim/qmp/json_writer.h"

namespace {

using sim::Json;
using Found = std::vector<sim::Result<Json>>;

void take_all(sim::qmp::JsonReader& reader, std::string_view bytes, Found& found) {
  while (auto result = reader.next(bytes)) found.push_back(*std::move(result));
  CHECK(bytes.empty());
}

bool has_fraction(const Json& value) {
  if (!value.is_structured()) return value.is_number_float();
  for (const Json& member : value)
    if (has_fraction(member)) return true;
  return false;
}

void try_release(const char* release, std::string_view input) {
  const sim::Profile& profile = *sim::find_profile(release);
  sim::qmp::JsonReader whole(profile), by_bytes(profile);
  Found found, found_by_bytes;
  take_all(whole, input, found);
  for (const char& byte : input) take_all(by_bytes, {&byte, 1}, found_by_bytes);
  while (auto result = whole.finish()) found.push_back(*std::move(result));
  while (auto result = by_bytes.finish()) found_by_bytes.push_back(*std::move(result));
  CHECK(found == found_by_bytes);
  for (const auto& result : found) {
    if (!result) continue;
    const std::string text = sim::qmp::write_json(*result, profile);
    for (const char byte : text) CHECK(byte >= 0x20 && byte < 0x7F);
    if (has_fraction(*result)) continue;  // infinities and digits are not kept
    const auto again = sim::qmp::parse_json(text, profile);
    CHECK(again.ok() && *again == *result);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMost = 1 << 16;
  if (size > kMost) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  for (const char* release : {"7.2", "11.1"}) try_release(release, input);
  return 0;
}
