// Any bytes as a qcow2 file that is shown: all of it, what is at one place, and the way to a byte
// of the disk.  It ends after a bounded number of records.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "sim/base/check.h"
#include "sim/image/dump.h"
#include "sim/storage/memory.h"
#include "sim/world/world.h"

namespace {

class CountingSink final : public sim::image::DumpSink {
 public:
  void section(sim::image::DumpSection) override {}
  void table(const sim::image::DumpRecord& record) override { this->record(record); }
  void record(const sim::image::DumpRecord&) override { CHECK(++records_ <= 2'000'000); }

 private:
  std::uint64_t records_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sim::World world(1);
  sim::storage::MemoryFile file;
  file.write_now(0, std::as_bytes(std::span(data, size)));
  for (const sim::image::DumpRequest& request :
       {sim::image::DumpRequest{}, sim::image::DumpRequest{.at = size / 2},
        sim::image::DumpRequest{.guest = size}}) {
    CountingSink sink;
    (void)sim::run(world, sim::image::dump(file, request, sink));
  }
  return 0;
}
