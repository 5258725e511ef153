// Any bytes as a qcow2 file: opened for writing, read, written, zeroed, discarded, closed.  Every
// request ends with a value or an Error.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"

namespace {

using sim::Result;
using sim::Task;

Task<Result<>> use(sim::World& world, std::shared_ptr<sim::storage::MemoryFile> file) {
  CO_TRY(const auto image, co_await sim::qcow2::Image::open(world, file, true));
  std::vector<std::byte> buffer(std::size_t{3} * 4096, std::byte{7});
  const std::uint64_t size = image->size();
  for (const std::uint64_t at : {std::uint64_t{0}, size / 2, size / 3 * 2}) {
    if (size < buffer.size() || at > size - buffer.size()) break;
    (void)co_await image->read({at}, buffer);
    (void)co_await image->status({at}, size - at);
    (void)co_await image->write({at}, buffer);
    (void)co_await image->write_zeroes({at + 1}, buffer.size() - 1, true);
    (void)co_await image->discard({at}, buffer.size());
  }
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
