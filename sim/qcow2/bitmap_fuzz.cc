// Any bytes as a qcow2 file whose bitmaps are looked at, changed and stored.  Everything ends with
// a value or an Error.

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

Task<Result<>> use(sim::World& world, std::shared_ptr<sim::storage::MemoryFile> file) {
  CO_TRY(const auto image, co_await sim::qcow2::Image::open(world, file, true));
  (void)co_await image->add_bitmap("new", image->default_granularity_bits(), true);
  const std::vector<sim::qcow2::BitmapInfo> bitmaps = image->bitmaps();
  for (std::size_t i = 0; i < bitmaps.size() && i < 8; ++i) {
    (void)co_await image->bitmap_bits(bitmaps[i].name);
    (void)co_await image->merge_bitmap("new", *image, bitmaps[i].name);
    if (i % 4 == 1) (void)co_await image->enable_bitmap(bitmaps[i].name, false);
    if (i % 4 == 2) (void)co_await image->clear_bitmap(bitmaps[i].name);
    if (i % 4 == 3) (void)co_await image->remove_bitmap(bitmaps[i].name);
  }
  (void)co_await image->discard({0}, image->size());
  co_return co_await image->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sim::World world(1);
  auto file = std::make_shared<sim::storage::MemoryFile>();
  file->write_now(0, std::as_bytes(std::span(data, size)));
  (void)sim::run(world, use(world, file));
  return 0;
}
