// For the tests of this room: a layer in memory that knows which of its bytes it has.

#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "sim/block/graph.h"
#include "sim/storage/memory.h"

namespace sim::block::testing {

class Layer final : public Node {
 public:
  Layer(Graph& graph, std::string name, std::uint64_t size)
      : Node(graph, std::move(name), "layer"), size_(size), known_(size) {}

  bool supports_backing() const override { return true; }
  std::uint64_t size() const override { return size_; }
  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    const Kind kind = known_[offset];
    std::uint64_t end = offset;
    while (end < offset + length && known_[end] == kind) ++end;
    co_return Status{end - offset, kind != Kind::absent, kind == Kind::zero};
  }

  std::vector<std::pair<std::uint64_t, std::uint64_t>> discards;  // that reached the driver

 protected:
  Task<Result<>> do_read(std::uint64_t, MutableBytes into) override {
    std::ranges::fill(into, std::byte{7});
    co_return ok();
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    mark(offset, from.size(), Kind::data);
    co_return ok();
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags) override {
    mark(offset, length, Kind::zero);
    co_return ok();
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    discards.emplace_back(offset, length);
    co_return ok();
  }

 private:
  enum class Kind : unsigned char { absent, data, zero };
  void mark(std::uint64_t offset, std::uint64_t length, Kind kind) {
    std::fill_n(known_.begin() + static_cast<std::ptrdiff_t>(offset), length, kind);
  }
  std::uint64_t size_;
  std::vector<Kind> known_;  // by byte
};

// A graph of 7.2 over files in memory.
struct GraphForTest {
  storage::MemoryFiles files;
  World world{1};
  Graph graph{world, files, *find_profile("7.2")};
};

// A user with a name.
class NamedUser final : public User {
 public:
  explicit NamedUser(std::string name) : name_(std::move(name)) {}
  std::string describe() const override { return name_; }
  void drained_begin() override { ++quiet; }
  void drained_end() override { --quiet; }
  bool is_busy() const override { return busy; }
  int quiet = 0;
  bool busy = false;

 private:
  std::string name_;
};

}  // namespace sim::block::testing
