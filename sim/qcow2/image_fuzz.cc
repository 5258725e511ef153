// Any bytes as a qcow2 file, opened in every way there is: read, looked at, written, zeroed,
// discarded, compressed, its snapshots and bitmaps used, closed.  Every request ends with a value
// or an Error.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"

namespace {

using sim::Result;
using sim::Task;
using sim::qcow2::Image;
using sim::qcow2::OpenOptions;
using sim::storage::MemoryFile;

constexpr std::uint64_t kPiece = std::uint64_t{3} * 4096;

Task<void> look(Image& image, std::uint64_t at) {
  std::vector<std::byte> buffer(kPiece);
  (void)co_await image.read({at}, buffer);
  (void)co_await image.status({at}, image.size() - at);
}

Task<void> change(Image& image, std::uint64_t at) {
  const std::vector<std::byte> buffer(kPiece, std::byte{7});
  (void)co_await image.write({at}, buffer);
  (void)co_await image.write_zeroes({at + 1}, kPiece - 1, true);
  const std::uint64_t cluster = image.cluster_size();
  if (cluster <= 65536 && at / cluster * cluster + cluster <= image.size()) {
    const std::vector<std::byte> whole(cluster, std::byte{9});
    (void)co_await image.write_compressed({at / cluster * cluster}, whole);
  }
  (void)co_await image.discard({at}, kPiece);
  (void)co_await image.write({at + 100}, sim::Bytes(buffer).first(1000));
}

// Snapshots and bitmaps, as far as they are many.
Task<void> use_more(Image& image) {
  std::vector<std::string> names;
  for (const auto& snapshot : image.snapshots())
    if (names.size() < 2) names.push_back(snapshot.id);
  for (const std::string& name : names) {
    std::vector<std::byte> state(512);
    (void)co_await image.read_vm_state(0, state);
    (void)co_await image.apply_snapshot(name);
    (void)co_await image.delete_snapshot(name);
  }
  (void)co_await image.create_snapshot({.name = "new"});
  std::vector<std::string> bitmaps;
  for (const auto& bitmap : image.bitmaps())
    if (bitmaps.size() < 2) bitmaps.push_back(bitmap.name);
  for (const std::string& name : bitmaps) {
    (void)co_await image.bitmap_bits(name);
    (void)co_await image.set_in_bitmap(name, 0, 4096);
    (void)co_await image.clear_bitmap(name);
    (void)co_await image.remove_bitmap(name);
  }
  if (image.size() < std::uint64_t{1} << 30)
    (void)co_await image.resize(image.size() + 65536, sim::qcow2::Preallocation::off);
}

Task<Result<>> use(sim::World& world, std::shared_ptr<MemoryFile> file, OpenOptions options) {
  const bool writable = options.writable;
  CO_TRY(const auto image, co_await Image::open(world, file, std::move(options)));
  const std::uint64_t size = image->size();
  for (const std::uint64_t at : {std::uint64_t{0}, size / 2, size / 3 * 2}) {
    if (size < kPiece || at > size - kPiece) break;
    co_await look(*image, at);
    if (writable) co_await change(*image, at);
  }
  if (writable) co_await use_more(*image);
  co_return co_await image->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::array<OpenOptions, 5> ways = {OpenOptions{},
                                           {.lax = true},
                                           {.writable = true},
                                           {.writable = true, .lax = true},
                                           {.snapshot = "1", .lax = true}};
  for (OpenOptions options : ways) {
    sim::World world(1);
    auto file = std::make_shared<MemoryFile>();
    file->write_now(0, std::as_bytes(std::span(data, size)));
    if (size > 0 && data[size - 1] % 2 == 1) options.data_file = std::make_shared<MemoryFile>();
    (void)sim::run(world, use(world, file, std::move(options)));
  }
  return 0;
}
