// The map of the file: what each of its clusters is, by who refers to it and by what is counted.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

std::string_view name_of(ClusterUse::Kind kind) {
  constexpr std::array<std::string_view, 14> kNames = {
      "unused",           "header",       "refcount table", "refcount block", "L1 table",
      "L2 table",         "data",         "compressed",     "snapshot table", "snapshot L1 table",
      "bitmap directory", "bitmap table", "bitmap bits",    "LUKS header"};
  return kNames.at(static_cast<std::size_t>(kind));
}

}  // namespace

void Dumper::show_clusters(std::uint64_t first, std::uint64_t count, ClusterUse use,
                           std::optional<std::uint64_t> stored) {
  const bool used = use.kind != ClusterUse::Kind::none;
  const bool beyond = first * cluster_bytes() >= file_.size();
  if (!used && beyond && stored == 0) return;
  std::string what(name_of(use.kind));
  DumpRecord record{.kind = "clusters",
                    .offset = first * cluster_bytes(),
                    .bytes = count * cluster_bytes(),
                    .name = count == 1 ? fmt::format("{}", first)
                                       : fmt::format("{}-{}", first, first + count - 1),
                    .value = stored ? fmt::format("count {}", *stored) : "count unknown"};
  if (!used) what = stored == 0 ? "free" : beyond ? "beyond the end of the file" : "leaked";
  record.meaning = what;
  if (use.times > 1) record.meaning += fmt::format(", shared x{}", use.times);
  record.fields = {
      {"first-cluster", first}, {"count", count}, {"what", what}, {"references", use.times}};
  if (stored) record.fields["refcount"] = *stored;
  if (use.conflict) record.problems.emplace_back("has another use, too");
  if (!used && stored && *stored != 0 && !beyond)
    record.problems.emplace_back("leaked: counted, but nothing refers to it");
  if (used && stored && *stored < use.times)
    record.problems.emplace_back(fmt::format("counted too low: {} references", use.times));
  if (used && stored && *stored > use.times && use.times < UINT16_MAX)
    record.problems.emplace_back(
        fmt::format("counted too high: {} reference{}", use.times, use.times == 1 ? "" : "s"));
  if (used && beyond) record.problems.emplace_back("beyond the end of the file");
  show(std::move(record));
}

Task<void> Dumper::clusters() {
  if (request_.at) {
    const std::uint64_t cluster = *request_.at >> geometry_.cluster_bits;
    const auto stored = co_await count_of(cluster);
    show({.kind = "refcount",
          .offset = cluster << geometry_.cluster_bits,
          .bytes = cluster_bytes(),
          .name = fmt::format("cluster {}", cluster),
          .value = stored ? fmt::format("count {}", *stored) : "count unknown",
          .meaning = *request_.at < file_.size() ? "" : "beyond the end of the file",
          .fields = {{"cluster", cluster}, {"refcount", stored ? Json(*stored) : Json()}}});
    co_return;
  }
  if (!wants(DumpSection::clusters)) co_return;
  sink_.section(DumpSection::clusters);
  const std::uint64_t in_file = geometry_.clusters_for(file_.size());
  const std::uint64_t per_block = (cluster_bytes() * 8) >> stored_.refcount_order;
  std::uint64_t first = 0, count = 0;
  ClusterUse run;
  std::optional<std::uint64_t> run_stored = 0;
  const auto add = [&](std::uint64_t cluster, std::uint64_t more, ClusterUse use,
                       std::optional<std::uint64_t> stored) {
    const bool edge = cluster == in_file;  // a record lies within the file, or beyond it
    if (count > 0 && cluster == first + count && use == run && stored == run_stored && !edge) {
      count += more;
      return;
    }
    if (count > 0) show_clusters(first, count, run, run_stored);
    first = cluster;
    count = more;
    run = use;
    run_stored = stored;
  };
  for (std::uint64_t cluster = 0; !exhausted_;) {
    const std::uint64_t index = cluster / per_block;
    const bool counted = index < refcount_table_.size();
    if (!counted || refcount_table_[index] == 0) {  // from use to use
      const std::uint64_t next =
          std::min(uses_.next_used(cluster), counted ? (index + 1) * per_block : UINT64_MAX);
      const std::uint64_t stop = std::min(next, std::max(cluster, in_file));
      if (stop > cluster) add(cluster, stop - cluster, {}, 0);
      if (next == UINT64_MAX) break;
      if (next > cluster) {
        cluster = next;
        continue;
      }
    }
    add(cluster, 1, uses_.get(cluster), co_await count_of(cluster));
    work_ += kClusterCost;
    exhausted_ = exhausted_ || work_ > kWorkMax;
    ++cluster;
  }
  if (count > 0) show_clusters(first, count, run, run_stored);
}

}  // namespace sim::image
