#include "conformance/target/files.h"

#include <algorithm>

namespace conformance {

sim::Result<> Files::visit(const std::string& path, std::uint64_t offset, std::uint64_t length,
                           const See& see) const {
  constexpr std::uint64_t kPiece = 32768;  // stays in the nearest cache
  std::vector<std::byte> piece(std::min(kPiece, length));
  for (const std::uint64_t end = offset + length; offset < end;) {
    const sim::MutableBytes bytes =
        sim::MutableBytes(piece).first(std::min<std::uint64_t>(piece.size(), end - offset));
    TRY_OK(read(path, offset, bytes));
    see(bytes.size(), bytes);
    offset += bytes.size();
  }
  return sim::ok();
}

}  // namespace conformance
