// The program `understudy-bench`: what the simulator, the harness and `understudy image` cost,
// beside real QEMU in the same run.  Prints numbers and the goals; judges nothing, because machines
// are noisy.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "conformance/cli/bench_images.h"
#include "conformance/cli/bench_process.h"
#include "conformance/cli/commands.h"
#include "conformance/cli/scenario_files.h"

namespace {

using Clock = std::chrono::steady_clock;
using conformance::Scenario;
using conformance::TargetChoice;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Scenarios a second, checks and all.
double scenario_rate(const std::vector<Scenario>& scenarios, const TargetChoice& target,
                     unsigned jobs) {
  conformance::RunnerOptions options;
  options.jobs = jobs;
  const conformance::RunResult result = conformance::run_scenarios(scenarios, {target}, options);
  if (result.exit_code() != 0)
    fmt::print(stderr, "understudy-bench: not everything conforms on {}\n", target.name);
  return static_cast<double>(scenarios.size()) / result.seconds;
}

// Microseconds for one query-version, the median of many.
double round_trip_us(const TargetChoice& choice) {
  auto target = choice.open();
  if (!target) return 0;
  auto session = (*target)->open({});
  if (!session) return 0;
  std::vector<double> times;
  for (int i = 0; i < 501; ++i) {
    const auto start = Clock::now();
    if (!(*session)->hypervisor().execute("query-version", nullptr)) return 0;
    times.push_back(seconds_since(start) * 1e6);
  }
  return median(times);
}

// Microseconds from nothing to a machine that answers and back.
double session_us(const TargetChoice& choice) {
  auto target = choice.open();
  if (!target) return 0;
  std::vector<double> times;
  for (int i = 0; i < 51; ++i) {
    const auto start = Clock::now();
    if (auto session = (*target)->open({}); !session) return 0;
    times.push_back(seconds_since(start) * 1e6);
  }
  return median(times);
}

bool has_come(conformance::Hypervisor& hypervisor, std::string_view name) {
  for (;;) {
    const auto event = hypervisor.next_event(std::chrono::minutes(2));
    if (!event || !*event) return false;
    if ((*event)->name == name) return true;
  }
}

// GB/s of a mirror of a raw image full of data onto an empty one, until it is ready; the best of
// three.  0: it went wrong.
double mirror_rate(const TargetChoice& choice, std::uint64_t size) {
  auto target = choice.open();
  if (!target) return 0;
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    auto session = (*target)->open({});
    if (!session) return 0;
    conformance::Files& files = (*session)->files();
    conformance::Hypervisor& hypervisor = (*session)->hypervisor();
    const std::vector<std::byte> piece(1 << 20, std::byte{0x5a});
    for (const std::string name : {"src", "dst"}) {
      const std::string path = files.directory() + "/" + name;
      if (!files.create(path, size)) return 0;
      for (std::uint64_t at = 0; name == "src" && at < size; at += piece.size())
        if (!files.write(path, at, piece)) return 0;
      if (!hypervisor.execute("blockdev-add", {{"driver", "raw"},
                                               {"node-name", name},
                                               {"file", {{"driver", "file"}, {"filename", path}}}}))
        return 0;
    }
    const auto start = Clock::now();
    if (!hypervisor.execute(
            "blockdev-mirror",
            {{"job-id", "j"}, {"device", "src"}, {"target", "dst"}, {"sync", "full"}}) ||
        !has_come(hypervisor, "BLOCK_JOB_READY"))
      return 0;
    best = std::max(best, static_cast<double>(size) / 1e9 / seconds_since(start));
    if (!hypervisor.execute("block-job-cancel", {{"device", "j"}}) ||
        !has_come(hypervisor, "BLOCK_JOB_COMPLETED"))
      return 0;
  }
  return best;
}

// Peak resident size of the whole matrix on the simulator in a process of its own, MiB.
double peak_resident_mib(const std::string& program) {
  const cli::Cost cost =
      cli::cost_of({program, "run", "matrix/block-copy", "--target", "sim", "--quiet"}, ".");
  if (!cost.ended_well)
    fmt::print(stderr, "understudy-bench: `understudy run --target sim` did not end well\n");
  return cost.peak_mib;
}

void row(std::string_view what, double simulator, double real, std::string_view goal) {
  const std::string ratio =
      real > 0 && simulator > 0 ? fmt::format("{:.2f}", simulator / real) : "-";
  fmt::print("{:<52} {:>12.1f} {:>12} {:>10}  {}\n", what, simulator,
             real > 0 ? fmt::format("{:.1f}", real) : "-", ratio, goal);
}

// The programs stand beside each other.
std::string understudy() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "understudy").string();
}

int bench_harness() {
  const auto loaded = cli::load_named({"matrix/block-copy"});
  if (!loaded) return cli::fail(loaded.error());
  const auto targets = cli::choose_targets({{"sim", "qemu"}, {}});
  if (!targets) return cli::fail(targets.error());
  const TargetChoice& simulator = targets->front();
  const TargetChoice& real = targets->back();
  std::vector<Scenario> sample;  // real QEMU is slow: a seeded tenth
  std::ranges::copy_if(loaded->scenarios, std::back_inserter(sample), [](const Scenario& scenario) {
    return conformance::in_shard(1, scenario.id, 1, 10);
  });
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());

  fmt::print("{} against {}; {} cores\n", simulator.version, real.version, cores);
  fmt::print("{:<52} {:>12} {:>12} {:>10}  {}\n", "", "simulator", "real QEMU", "ratio", "goal");
  // At first: what a process is like before it becomes another program counts as that one's.
  const double peak = peak_resident_mib(understudy());
  (void)scenario_rate(sample, simulator, 1);  // warm-up
  row("block-copy scenarios a second, checked, one worker",
      scenario_rate(loaded->scenarios, simulator, 1), scenario_rate(sample, real, 1),
      "sim >= 2000, real >= 60");
  row(fmt::format("block-copy scenarios a second, checked, {} workers", 2 * cores),
      scenario_rate(loaded->scenarios, simulator, 2 * cores),
      scenario_rate(sample, real, 2 * cores), "real >= 60 a core");
  row("a machine, started or made fit for reuse, and ended (us)", session_us(simulator),
      session_us(real), "sim <= 50");
  row("query-version, there and back (us)", round_trip_us(simulator), round_trip_us(real),
      "sim <= 5");
  row("mirror of 512 MiB of data, raw to raw (GB/s)", mirror_rate(simulator, 512 << 20),
      mirror_rate(real, 512 << 20), "sim >= 8");
  row("peak resident size of the whole matrix (MiB)", peak, 0, "sim <= 64");
  return cli::kConforms;
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false, harness = true, images = true;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick")
      quick = true;
    else if (argument == "--images")
      harness = false;
    else if (argument == "--harness")
      images = false;
    else
      return cli::fail({cli::kBadInput, "understudy-bench takes --quick, --images or --harness"});
  }
  if (const int code = harness ? bench_harness() : cli::kConforms; code != cli::kConforms)
    return code;
  if (images && !cli::bench_images(understudy(), quick)) return cli::kHarnessFailed;
  return cli::kConforms;
}
