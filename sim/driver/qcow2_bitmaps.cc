#include "sim/driver/qcow2_bitmaps.h"

#include <algorithm>
#include <bit>

namespace sim::driver {

namespace {

// Sets what is set in `bits`, granule n's in byte n / 8.
void set_from(block::DirtyBitmap& bitmap, Bytes bits) {
  for (std::uint64_t n = 0; n < bits.size() * 8; ++n)
    if ((bits[n / 8] & (std::byte{1} << (n % 8))) != std::byte{0})
      bitmap.set(n * bitmap.granularity(), bitmap.granularity());
}

Task<Result<>> give(qcow2::Image& image, const block::DirtyBitmap& bitmap) {
  const auto& known = image.bitmaps();
  if (std::ranges::find(known, bitmap.name(), &qcow2::BitmapInfo::name) == known.end())
    CO_TRY_OK(co_await image.add_bitmap(
        bitmap.name(), static_cast<std::uint8_t>(std::countr_zero(bitmap.granularity())),
        bitmap.enabled));
  CO_TRY_OK(co_await image.enable_bitmap(bitmap.name(), bitmap.enabled));
  CO_TRY_OK(co_await image.clear_bitmap(bitmap.name()));
  for (auto at = bitmap.next_dirty(0); at;) {
    const std::uint64_t end =
        std::min(bitmap.next_clean(*at).value_or(bitmap.size()), bitmap.size());
    CO_TRY_OK(co_await image.set_in_bitmap(bitmap.name(), *at, end - *at));
    if (end >= bitmap.size()) break;
    at = bitmap.next_dirty(end);
  }
  co_return ok();
}

}  // namespace

Task<Result<Bitmaps>> load_bitmaps(qcow2::Image& image) {
  Bitmaps bitmaps;
  for (const qcow2::BitmapInfo& stored : image.bitmaps()) {
    auto bitmap =
        std::make_shared<block::DirtyBitmap>(stored.name, image.size(), stored.granularity());
    bitmap->persistent = true;
    bitmap->inconsistent = stored.in_use;
    bitmap->enabled = stored.enabled && !stored.in_use;
    bitmap->read_only = !image.writable();
    if (!stored.in_use) {
      CO_TRY(const std::vector<std::byte> bits, co_await image.bitmap_bits(stored.name));
      set_from(*bitmap, bits);
    }
    bitmaps.push_back(std::move(bitmap));
  }
  co_return bitmaps;
}

Task<Result<>> give_bitmaps(qcow2::Image& image, Bitmaps bitmaps) {
  for (const auto& bitmap : bitmaps)
    if (bitmap->persistent && !bitmap->inconsistent) CO_TRY_OK(co_await give(image, *bitmap));
  co_return ok();
}

}  // namespace sim::driver
