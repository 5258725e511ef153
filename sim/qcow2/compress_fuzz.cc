// Any bytes as the data of a compressed cluster, and as the word that says where it is.  The first
// byte chooses codec and cluster size.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/base/check.h"
#include "sim/qcow2/compress.h"
#include "sim/qcow2/format.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace qcow2 = sim::qcow2;
  if (size == 0) return 0;
  const auto type = static_cast<qcow2::Compression>(data[0] & 1U);
  const std::uint32_t bits = qcow2::format::kClusterBitsMin + (data[0] >> 1) % 8;
  const sim::Bytes stored = std::as_bytes(std::span(data + 1, size - 1));

  std::vector<std::byte> cluster(std::size_t{1} << bits);
  if (qcow2::decompress(type, stored, cluster).ok()) {
    if (const auto again = qcow2::compress(type, cluster)) {
      std::vector<std::byte> same(cluster.size());
      CHECK(qcow2::decompress(type, *again, same).ok());
      CHECK(same == cluster);
    }
  }
  if (stored.size() < 8) return 0;
  const std::uint64_t word = sim::load_be<std::uint64_t>(stored, 0) | qcow2::format::kCompressed;
  const qcow2::CompressedSpan span = qcow2::compressed_span(bits, word);
  CHECK(span.bytes > 0 && span.bytes <= 2 * cluster.size());
  CHECK(qcow2::touched_clusters(bits, span).count <= 3);
  if (const auto back = qcow2::compressed_word(bits, span.at, span.bytes))
    CHECK(qcow2::compressed_span(bits, *back) == span);
  return 0;
}
