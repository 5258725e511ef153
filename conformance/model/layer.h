// One layer of a chain as the model sees it: size, header facts, and what each place may be.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conformance/model/cell.h"

namespace conformance::model {

struct CellRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Cell cell;
  friend bool operator==(const CellRun&, const CellRun&) = default;
};

// What may be read through a chain: maximal runs, ascending, covering [0, size of the top).
struct ViewRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Values values;
  std::optional<std::uint8_t> pattern() const { return only(values); }
  friend bool operator==(const ViewRun&, const ViewRun&) = default;
};
using View = std::vector<ViewRun>;

// "1*128k 2*64k 0*832k": value in decimal, length; "1|9*64k" where either is legal.
std::string text(const View& view);

enum class Format : std::uint8_t { raw, qcow2 };
constexpr const char* name_of(Format format) { return format == Format::raw ? "raw" : "qcow2"; }

// Sizes and offsets in bytes.  Operations clip nothing: a range must lie within the layer.
class Layer {
 public:
  // A new, empty layer: qcow2 all absent, raw all zeroes.
  Layer(Format format, std::uint64_t size, std::uint64_t cluster_size = 65536, int version = 3);

  Format format() const { return format_; }
  std::uint64_t size() const { return size_; }
  // The unit of allocation: the cluster, or 1 for raw.
  std::uint64_t unit() const { return format_ == Format::raw ? 1 : cluster_size_; }
  std::uint64_t cluster_size() const { return cluster_size_; }
  int version() const { return version_; }

  // Maximal runs covering [0, size).
  const std::vector<CellRun>& runs() const { return runs_; }
  const Cell& at(std::uint64_t offset) const;

  // Sets a range, without any rule.
  void assign(std::uint64_t offset, std::uint64_t length, const Cell& cell);

  friend bool operator==(const Layer&, const Layer&) = default;

 private:
  Format format_;
  std::uint64_t size_;
  std::uint64_t cluster_size_;
  int version_;
  std::vector<CellRun> runs_;
};

// A chain: the layers that are attached to one another, top first.  Not owned.
using LayerChain = std::vector<const Layer*>;

// What may be in either of two layers of one size and kind.
Layer either(const Layer& left, const Layer& right);

// Whether it is known of each place that it is Absent, or that it is not.
bool allocation_is_known(const Layer& layer);

// What is read through the chain (docs/model.md, 1.2).  An empty chain reads as nothing.
View view(const LayerChain& chain);
// The same for a part of it, by absolute offsets; zeroes beyond the top's end.
View view(const LayerChain& chain, std::uint64_t offset, std::uint64_t length);

// What may be read in either of two views of one size.
View either(const View& left, const View& right);

// What block status says of a place, seen through the chain: whether it is known to be zero
// without being read.  Where a release or a file system may say either, both are set.
struct StatusRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool may_be_zero = false;
  bool may_be_data = false;
  // Surely reported in one piece, however it lies in the file.
  bool whole = false;
};
std::vector<StatusRun> status(const LayerChain& chain, std::uint64_t offset, std::uint64_t length);

// What a guest does to `top`, over the layers `below` it (docs/model.md, 1.1).
void write(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length,
           std::uint8_t pattern);
// The same with bytes that each are one of `values`.
void write(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length,
           const Values& values);
void write_zeroes(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length);
// On a node opened with discard=unmap; without that a discard does nothing.
void discard(Layer& top, const LayerChain& below, std::uint64_t offset, std::uint64_t length);

}  // namespace conformance::model
