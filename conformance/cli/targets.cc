#include "conformance/cli/targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "conformance/cli/scenario_files.h"
#include "conformance/run/sim_target.h"
#include "real-libvirt/libvirt_target.h"
#include "real-qemu/expectations.h"
#include "real-qemu/installed.h"
#include "real-qemu/qemu_target.h"

namespace cli {

using conformance::KnownDivergence;
using conformance::Outcome;
using conformance::Target;
using conformance::TargetChoice;

static real_qemu::Places places() { return {.root = UNDERSTUDY_SOURCE_DIR, .path = {}}; }

static conformance::DivergenceClass class_named(const std::string& name) {
  const auto found = std::ranges::find(conformance::kClassNames, name);
  return found == conformance::kClassNames.end()
             ? conformance::DivergenceClass::none
             : static_cast<conformance::DivergenceClass>(found - conformance::kClassNames.begin());
}

static Expected<std::vector<KnownDivergence>> known_of(const std::string& version) {
  const auto expectations = real_qemu::load_expectations(
      UNDERSTUDY_SOURCE_DIR "/real-qemu/expectations", real_qemu::exact_version(version));
  if (!expectations) return std::unexpected(Failure{kBadInput, to_string(expectations.error())});
  std::vector<KnownDivergence> known;
  for (const real_qemu::Expectation& expectation : *expectations)
    known.push_back({expectation.scenario, class_named(expectation.divergence_class),
                     expectation.because, expectation.place, 1});
  if (known.empty()) return known;
  static const auto library = load_named({});  // read once for all targets
  if (!library) return std::unexpected(library.error());
  for (KnownDivergence& divergence : known)
    divergence.members = static_cast<std::size_t>(std::ranges::count_if(
        library->scenarios,
        [&](const conformance::Scenario& scenario) { return concerns(divergence, scenario.id); }));
  return known;
}

static Expected<TargetChoice> choose_simulator(const std::string& spec) {
  const std::string profile = spec == "sim" ? "7.2" : spec.substr(4);
  const sim::qmp::Profile* found = sim::qmp::find_profile(profile);
  if (found == nullptr) {
    std::string known;
    for (const sim::Profile& other : sim::kProfiles)
      known += fmt::format("{}sim:{}", known.empty() ? "" : ", ", other.name);
    return std::unexpected(
        Failure{kBadInput, fmt::format("--target {}: no such profile; there are {}", spec, known)});
  }
  const conformance::SimTarget probe(*found);
  // What a release is known to do wrong its profile does, too.
  auto known = known_of(fmt::format("{}.{}.{}", found->major, found->minor, found->micro));
  if (!known) return std::unexpected(known.error());
  return TargetChoice{probe.name(),
                      probe.version(),
                      probe.release(),
                      [found]() -> Outcome<std::unique_ptr<Target>> {
                        return std::make_unique<conformance::SimTarget>(*found);
                      },
                      *std::move(known),
                      {}};
}

// A target that is not there: skipped if the caller allows that by name, else a failure.
static Expected<TargetChoice> missing(const std::string& spec, const std::string& why,
                                      const std::string& skip, const TargetRequest& request) {
  if (std::ranges::find(request.allow_skips, skip) == request.allow_skips.end())
    return std::unexpected(Failure{
        kHarnessFailed, fmt::format("--target {}: {} (or --allow-skip {})", spec, why, skip)});
  TargetChoice choice;
  choice.name = spec;
  choice.skip_because = why;
  return choice;
}

static Expected<TargetChoice> choose_qemu(const std::string& spec, const TargetRequest& request) {
  TargetChoice choice;
  choice.name = spec;
  const auto find = [spec] {
    real_qemu::QemuOptions options;
    options.places = places();
    return real_qemu::QemuTarget::find(spec, options);
  };
  auto probe = find();
  if (!probe)
    return missing(spec, probe.error().detail, spec == "qemu" ? "no-qemu" : "no-qemu-version",
                   request);
  choice.version = (*probe)->version();
  choice.release = (*probe)->release();
  auto known = known_of(choice.version);
  if (!known) return std::unexpected(known.error());
  choice.known = *std::move(known);
  choice.open = [find]() -> Outcome<std::unique_ptr<Target>> {
    auto target = find();
    if (!target) return std::unexpected(target.error());
    return *std::move(target);
  };
  return choice;
}

// The first start of libvirt takes seconds, for it asks QEMU what it can do: the one that was found
// serves the first who opens.
static Expected<TargetChoice> choose_libvirt(const std::string& spec,
                                             const TargetRequest& request) {
  TargetChoice choice;
  choice.name = spec;
  const auto find = [spec] {
    real_libvirt::LibvirtOptions options;
    options.places = places();
    return real_libvirt::LibvirtTarget::find(spec, options);
  };
  auto found = find();
  if (!found) return missing(spec, found.error().detail, "no-libvirt", request);
  choice.version = (*found)->version();
  choice.release = (*found)->release();
  auto known = known_of((*found)->qemu_version());
  if (!known) return std::unexpected(known.error());
  choice.known = *std::move(known);
  struct Spare {
    std::mutex mutex;
    std::unique_ptr<Target> target;
  };
  const auto spare = std::make_shared<Spare>();
  spare->target = *std::move(found);
  choice.open = [find, spare]() -> Outcome<std::unique_ptr<Target>> {
    if (const std::lock_guard lock(spare->mutex); spare->target) return std::move(spare->target);
    auto target = find();
    if (!target) return std::unexpected(target.error());
    return *std::move(target);
  };
  return choice;
}

static Expected<TargetChoice> choose(const std::string& spec, const TargetRequest& request) {
  if (spec == "sim" || spec.starts_with("sim:")) return choose_simulator(spec);
  if (spec == "qemu" || spec.starts_with("qemu:")) return choose_qemu(spec, request);
  if (spec == "libvirt" || spec.starts_with("libvirt:")) return choose_libvirt(spec, request);
  return std::unexpected(
      Failure{kBadInput,
              fmt::format("--target {}: not a target; give sim, sim:VERSION, qemu, qemu:VERSION or "
                          "qemu:/path/to/qemu-system-x86_64, or libvirt, with the same",
                          spec)});
}

Expected<std::vector<TargetChoice>> choose_targets(const TargetRequest& request) {
  std::vector<std::string> specs = request.specs;
  if (specs.empty()) {
    specs = {"sim"};
    for (const real_qemu::Installed& installed : real_qemu::installed(places()))
      specs.push_back(installed.spec);
    if (specs.size() == 1) specs.emplace_back("qemu");  // its absence must be seen
  }
  std::vector<TargetChoice> choices;
  for (const std::string& spec : specs) {
    auto choice = choose(spec, request);
    if (!choice) return std::unexpected(choice.error());
    // Found twice: the system's build is also installed beside the others.
    const bool repeated = std::ranges::any_of(choices, [&](const TargetChoice& other) {
      const bool same_build = !choice->version.empty() && other.version == choice->version;
      return other.name == choice->name || (request.specs.empty() && same_build);
    });
    if (!repeated) choices.push_back(*std::move(choice));
  }
  return choices;
}

}  // namespace cli
