#include "sim/qcow2/compress.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"

namespace sim::qcow2 {

namespace {

constexpr int kWindowBitsWritten = -12;  // negative: raw deflate
constexpr int kWindowBitsRead = -15;
constexpr int kMemoryLevel = 9;

Bytef* raw(std::byte* bytes) { return reinterpret_cast<Bytef*>(bytes); }

// A zlib stream that is ended with its scope; clusters and what they shrink to fit its 32 bits.
template <int (*End)(z_stream*)>
class Stream {
 public:
  Stream(Bytes in, MutableBytes out) {
    stream_.next_in = raw(const_cast<std::byte*>(in.data()));  // zlib does not write there
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = raw(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { End(&stream_); }
  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_ = {};
};

// Bytes of `out` that were filled; 0 if they do not suffice.
std::size_t deflate_into(Bytes cluster, MutableBytes out) {
  Stream<deflateEnd> stream(cluster, out);
  CHECK(deflateInit2(stream.get(), Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindowBitsWritten,
                     kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK);
  return deflate(stream.get(), Z_FINISH) == Z_STREAM_END ? out.size() - stream->avail_out : 0;
}

bool inflate_into(Bytes stored, MutableBytes cluster) {
  Stream<inflateEnd> stream(stored, cluster);
  CHECK(inflateInit2(stream.get(), kWindowBitsRead) == Z_OK);
  const int status = inflate(stream.get(), Z_FINISH);
  return (status == Z_STREAM_END || status == Z_BUF_ERROR) && stream->avail_out == 0;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

std::size_t zstd_into(Bytes cluster, MutableBytes out) {
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  CHECK(context != nullptr);
  ZSTD_inBuffer from{.src = cluster.data(), .size = cluster.size(), .pos = 0};
  ZSTD_outBuffer to{.dst = out.data(), .size = out.size(), .pos = 0};
  const std::size_t left = ZSTD_compressStream2(context.get(), &to, &from, ZSTD_e_end);
  return left == 0 ? to.pos : 0;
}

bool unzstd_into(Bytes stored, MutableBytes cluster) {
  const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  CHECK(context != nullptr);
  ZSTD_inBuffer from{.src = stored.data(), .size = stored.size(), .pos = 0};
  ZSTD_outBuffer to{.dst = cluster.data(), .size = cluster.size(), .pos = 0};
  while (to.pos < to.size) {
    const std::size_t before = from.pos + to.pos;
    const std::size_t left = ZSTD_decompressStream(context.get(), &to, &from);
    if (ZSTD_isError(left) != 0 || left == 0) break;
    if (from.pos + to.pos == before) break;  // it wants more than there is
  }
  return to.pos == to.size;
}

// spec: the offset takes 62 - (cluster_bits - 8) bits, the sectors the rest below bit 62.
constexpr std::uint32_t offset_bits(std::uint32_t cluster_bits) { return 70 - cluster_bits; }

}  // namespace

CompressedSpan compressed_span(std::uint32_t cluster_bits, std::uint64_t word) {
  const std::uint32_t bits = offset_bits(cluster_bits);
  const HostOffset at{word & ((std::uint64_t{1} << bits) - 1) & (format::kHostOffsetEnd - 1)};
  const std::uint64_t more_sectors = (word & (format::kCompressed - 1)) >> bits;
  return {at, (more_sectors + 1) * format::kSector - at.value % format::kSector};
}

std::optional<std::uint64_t> compressed_word(std::uint32_t cluster_bits, HostOffset at,
                                             std::uint64_t bytes) {
  const std::uint32_t bits = offset_bits(cluster_bits);
  if (at.value >= format::kHostOffsetEnd || at.value >> bits != 0) return std::nullopt;
  const std::uint64_t more_sectors = (at.value % format::kSector + bytes - 1) / format::kSector;
  return format::kCompressed | more_sectors << bits | at.value;
}

TouchedClusters touched_clusters(std::uint32_t cluster_bits, CompressedSpan span) {
  const std::uint64_t first = span.at.value >> cluster_bits;
  const std::uint64_t last = (span.at.value + span.bytes - 1) >> cluster_bits;
  return {{first}, last - first + 1};
}

std::optional<std::vector<std::byte>> compress(Compression type, Bytes cluster) {
  std::vector<std::byte> smaller(cluster.size() - 1);
  const std::size_t filled =
      type == Compression::zstd ? zstd_into(cluster, smaller) : deflate_into(cluster, smaller);
  if (filled == 0) return std::nullopt;
  smaller.resize(filled);
  return smaller;
}

Result<> decompress(Compression type, Bytes stored, MutableBytes cluster) {
  const bool done =
      type == Compression::zstd ? unzstd_into(stored, cluster) : inflate_into(stored, cluster);
  if (!done) return os_error(EIO);
  return ok();
}

}  // namespace sim::qcow2
