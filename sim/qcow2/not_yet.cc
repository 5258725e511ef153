// Declared, and not written yet.  Gone when its last function is.

#include "sim/qcow2/image.h"

namespace sim::qcow2 {

static Error not_yet(const char* what) {
  return os_error(ENOTSUP, std::string("understudy: not in this version: ") + what);
}

Task<Result<>> Image::load_bitmaps() { co_return ok(); }
Task<Result<>> Image::store_bitmaps() { co_return ok(); }
Task<Result<>> Image::add_bitmap(std::string, std::uint8_t, bool) { co_return not_yet("bitmaps"); }
Task<Result<>> Image::remove_bitmap(std::string) { co_return not_yet("bitmaps"); }
Task<Result<>> Image::clear_bitmap(std::string) { co_return not_yet("bitmaps"); }
Task<Result<>> Image::enable_bitmap(std::string, bool) { co_return not_yet("bitmaps"); }
Task<Result<std::vector<std::byte>>> Image::bitmap_bits(std::string) {
  co_return not_yet("bitmaps");
}
Task<Result<>> Image::set_in_bitmap(std::string, std::uint64_t, std::uint64_t) {
  co_return not_yet("bitmaps");
}
Task<Result<std::vector<BitmapInfo>>> read_bitmaps(storage::Storage&, const Header&) {
  co_return std::vector<BitmapInfo>{};
}

}  // namespace sim::qcow2
