// Any bytes as a qcow2 file with snapshots: each is looked at, another one is made, the first one
// gone back to and deleted.  Every request ends with a value or an Error.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"

namespace {

using sim::Result;
using sim::Task;
using sim::qcow2::Image;

Task<Result<>> look(sim::World& world, std::shared_ptr<sim::storage::MemoryFile> file) {
  CO_TRY(const auto image, co_await Image::open(world, file, false));
  for (std::size_t i = 0; i < std::min<std::size_t>(image->snapshots().size(), 4); ++i) {
    const auto shown = co_await Image::open(
        world, file, sim::qcow2::OpenOptions{.snapshot = image->snapshots()[i].id});
    if (!shown) continue;
    std::vector<std::byte> buffer(4096);
    if ((*shown)->size() >= buffer.size()) (void)co_await (*shown)->read({0}, buffer);
  }
  co_return sim::ok();
}

Task<Result<>> use(sim::World& world, std::shared_ptr<sim::storage::MemoryFile> file) {
  CO_TRY(const auto image, co_await Image::open(world, file, true));
  (void)co_await image->create_snapshot({.name = "new"});
  std::vector<std::byte> buffer(4096, std::byte{7});
  if (image->size() >= buffer.size()) (void)co_await image->write({0}, buffer);
  if (!image->snapshots().empty()) {
    const std::string first = image->snapshots().front().id;
    (void)co_await image->apply_snapshot(first);
    (void)co_await image->delete_snapshot(first);
  }
  (void)co_await image->read_vm_state(0, buffer);
  co_return co_await image->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sim::World world(1);
  auto file = std::make_shared<sim::storage::MemoryFile>();
  file->write_now(0, std::as_bytes(std::span(data, size)));
  (void)sim::run(world, look(world, file));
  (void)sim::run(world, use(world, file));
  return 0;
}
