#include "conformance/cli/bench_images.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <vector>

#include "conformance/cli/bench_process.h"

namespace cli {

namespace {

namespace fs = std::filesystem;

// Images to work on, in memory where the system has such a place.
class Workshop {
 public:
  explicit Workshop(std::string program) : program_(std::move(program)) {
    const fs::path memory = "/dev/shm";
    const fs::path parent = fs::is_directory(memory) ? memory : fs::temp_directory_path();
    std::string name = (parent / "understudy-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Workshop() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  const std::string& path() const { return path_; }
  bool make(const std::string& script) const {
    return !path_.empty() && cost_of({"sh", "-ec", script}, path_).ended_well;
  }
  std::vector<std::string> ours(const std::string& arguments) const {
    return {"sh", "-c", fmt::format("exec '{}' image {}", program_, arguments)};
  }
  std::vector<std::string> theirs(const std::string& arguments) const {
    return {"sh", "-c", "exec qemu-img " + arguments};
  }

 private:
  std::string program_, path_;
};

struct Row {
  std::string what;
  std::string arguments;   // of both
  double goal = 1;         // ratio of processor time, at most
  std::string rival = {};  // a command instead of qemu-img with the same arguments
  std::string before = "rm -f out";
};

bool show(const Workshop& workshop, const Row& row, int rounds) {
  Contest contest{.ours = workshop.ours(row.arguments),
                  .theirs = row.rival.empty() ? workshop.theirs(row.arguments)
                                              : std::vector<std::string>{"sh", "-c", row.rival},
                  .before = row.before};
  const Pair pair = compete(contest, workshop.path(), rounds);
  if (!pair.ours.ended_well) {
    fmt::print("{:<52} could not be run\n", row.what);
    return false;
  }
  fmt::print("{:<52} {:>12.1f} {:>12.1f} {:>10.2f}  at most {:.2f}{}\n", row.what,
             pair.ours.milliseconds, pair.theirs.milliseconds, pair.ratio, row.goal,
             pair.ratio <= row.goal ? "" : "  MISSED");
  return true;
}

// Layer i of the chain holds every 32nd cluster, from i on.
std::string chain_script(std::uint64_t clusters) {
  return fmt::format(
      "qemu-img create -q -f qcow2 l0 {0}k\n"
      "i=0; while [ $i -lt 32 ]; do\n"
      "  [ $i = 0 ] || qemu-img create -q -f qcow2 -b l$((i-1)) -F qcow2 l$i\n"
      "  seq $i 32 {1} | awk '{{printf \"write -q -P 7 %.0f 64k\\n\", $1*65536}}' | qemu-io l$i\n"
      "  i=$((i+1)); done",
      clusters * 64, clusters - 1);
}

std::vector<Row> copying() {
  return {
      {"convert raw -> qcow2", "convert -f raw -O qcow2 a.raw out", 0.8},
      {"convert qcow2 -> raw", "convert -f qcow2 -O raw a.qcow2 out", 0.8},
      {"convert qcow2 -> qcow2", "convert -f qcow2 -O qcow2 a.qcow2 out", 0.8},
      {"convert a chain of 32 -> qcow2", "convert -f qcow2 -O qcow2 l31 out", 0.4},
      {"convert raw -> raw, and cp", "convert -f raw -O raw a.raw out", 1.05, "cp a.raw out"},
      {"convert raw -> qcow2, and cp", "convert -f raw -O qcow2 a.raw out", 1.05, "cp a.raw out"},
  };
}

std::vector<Row> looking(const std::string& requests) {
  return {
      {"check, 256 Ki clusters", "check -f qcow2 big", 0.2},
      {"map, a chain of 32", "map -f qcow2 --output=json l31", 0.1},
      {"map, 32 Ki extents", "map -f qcow2 --output=json holes", 0.1},
      {"compare, identical", "compare -f raw -F qcow2 a.raw a.qcow2", 0.85},
      {"4k reads all over the disk", "bench -f qcow2 -S 40964096 -c " + requests + " a.qcow2", 0.4},
      {"4k writes, 32 in parallel, cache=unsafe",
       "bench -f qcow2 -w -d 32 -t unsafe -S 40964096 -c " + requests + " a.qcow2", 1.0 / 6},
  };
}

bool show_peak(const Workshop& workshop, const char* what, const std::string& arguments) {
  const Cost cost = cost_of(workshop.ours(arguments), workshop.path());
  fmt::print("{:<52} {:>12.1f} {:>12} {:>10}  at most 64{}\n", what, cost.peak_mib, "-", "-",
             !cost.ended_well      ? "  could not be run"
             : cost.peak_mib <= 64 ? ""
                                   : "  MISSED");
  return cost.ended_well;
}

}  // namespace

bool bench_images(const std::string& program, bool quick) {
  const Workshop workshop(program);
  const int rounds = quick ? 3 : 5;
  const std::uint64_t mib = quick ? 256 : 1024;
  const std::string script = fmt::format(
      "head -c {}M /dev/urandom >a.raw; qemu-img convert -f raw -O qcow2 a.raw a.qcow2\n"
      "qemu-img create -q -f qcow2 -o preallocation=metadata big 16G\n"
      "qemu-img create -q -f qcow2 -o cluster_size=4k holes 256M\n"
      "seq 0 2 65535 | awk '{{printf \"write -q %.0f 4k\\n\", $1*4096}}' | qemu-io holes\n"
      "qemu-img create -q -f qcow2 vast 1T\n"
      "seq 0 1023 | awk '{{printf \"write -q %.0f 64k\\n\", $1*1073741824}}' | qemu-io vast\n{}",
      mib, chain_script(mib * 16));
  fmt::print("\n{:<52} {:>12} {:>12} {:>10}  {}\n", "processor time, ms", "understudy", "qemu-img",
             "ratio", "goal");
  if (!workshop.make(script)) {
    fmt::print(stderr, "understudy-bench: the images could not be made\n");
    return false;
  }
  bool all = true;
  for (const Row& row : copying()) all = show(workshop, row, rounds) && all;
  for (const Row& row : looking(quick ? "100000" : "400000"))
    all = show(workshop, row, rounds) && all;
  (void)cost_of({"rm", "-f", "out"}, workshop.path());
  fmt::print("\n{:<52} {:>12} {:>12} {:>10}  {}\n", "peak resident size, MiB", "understudy", "", "",
             "goal");
  all = show_peak(workshop, "convert, 1 TiB sparse", "convert -f qcow2 -O qcow2 vast out") && all;
  all = show_peak(workshop, "check, 1 TiB sparse", "check -f qcow2 vast") && all;
  all = show_peak(workshop, "info, 1 TiB sparse", "info -f qcow2 vast") && all;
  return all;
}

}  // namespace cli
