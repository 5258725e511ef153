#include "conformance/property/domain_case.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "conformance/model/domain_model.h"
#include "conformance/run/calls.h"
#include "conformance/run/describe.h"
#include "conformance/run/guest_io.h"

namespace conformance::property {

namespace {

constexpr const char* kModelDirectory = "/dir";

std::string target_of(std::size_t disk) {
  return std::string("vd") + static_cast<char>('a' + static_cast<int>(disk));
}

// Writes the steps down and does to the model what they do.
class Planner {
 public:
  Planner(const DomainCase& drawn, Scenario& scenario)
      : drawn_(drawn), scenario_(scenario), model_(kModelDirectory) {
    describe(scenario, [](const std::string&) { return std::nullopt; }, model_);
  }

  void plan() {
    for (const PlannedAction& action : drawn_.actions) perform(action);
  }

 private:
  using Kind = PlannedAction::Kind;

  void perform(const PlannedAction& action) {
    const std::string disk = target_of(action.disk % drawn_.actives.size());
    // A job that may be held and may have gone on: only what comes to the same is done.
    if (model_.has_job(disk) && !model_.ready(disk) &&
        model_.course(disk) == model::Course::limited && action.kind != Kind::release)
      return;
    switch (action.kind) {
      case Kind::snapshot:
      case Kind::delete_snapshot:
      case Kind::revert:
        return perform_on_snapshot(action);
      case Kind::guest:
        return perform_guest(action.guest, disk);
      case Kind::check: {
        CheckStep step;
        step.disk = disk;
        return add(std::move(step));
      }
      case Kind::abort:
        return end_job(disk, action.flags);
      case Kind::release:
        return release(disk);
      default:
        return start_job(action, disk);
    }
  }

  std::uint64_t size_of(const std::string& disk) const {
    const model::View view = model_.guest_view(disk);
    return view.empty() ? 0 : view.back().offset + view.back().length;
  }

  void perform_guest(GuestStep step, const std::string& disk) {
    step.disk = disk;
    if (step.operation != GuestStep::Operation::flush) {
      const std::uint64_t size = size_of(disk);
      if (step.offset >= size) return;
      step.length = std::min(step.length, size - step.offset);
    }
    tell(model_, step);
    add(std::move(step));
  }

  CallStep snapshot_call_of(const PlannedAction& action) const {
    CallStep call;
    call.name = action.snapshot;
    call.flags = action.flags;
    call.api = action.kind == Kind::snapshot          ? CallStep::Api::snapshot_create
               : action.kind == Kind::delete_snapshot ? CallStep::Api::snapshot_delete
                                                      : CallStep::Api::snapshot_revert;
    for (std::size_t i = 0; i < std::min(action.modes.size(), drawn_.actives.size()); ++i) {
      if (action.modes[i].empty()) continue;
      if (!call.snapshot.disks) call.snapshot.disks.emplace();
      call.snapshot.disks->push_back({target_of(i), action.modes[i], {}, {}});
    }
    return call;
  }

  void perform_on_snapshot(const PlannedAction& action) {
    for (std::size_t i = 0; i < drawn_.actives.size(); ++i) {
      const std::string disk = target_of(i);
      if (model_.has_job(disk) && !model_.ready(disk) &&
          model_.course(disk) == model::Course::limited)
        return;
    }
    const CallStep call = snapshot_call_of(action);
    const model::DomainModel before = model_;
    if (predict_call(model_, in_directory(call, kModelDirectory)).unknown)
      model_ = before;
    else
      add(call);
  }

  // The name of a place in the live chain as the action spells it.
  std::optional<std::string> name_of(const PlannedAction& action, unsigned position,
                                     const std::string& disk) const {
    const auto links = model_.chain(disk).links;
    if (position >= links.size()) {
      if (position % 2 == 0) return std::nullopt;
      return "${dir}/nosuch";
    }
    std::string file = links[position].path.substr(links[position].path.rfind('/') + 1);
    switch (action.spelling) {
      case PlannedAction::Spelling::path:
        return "${dir}/" + file;
      case PlannedAction::Spelling::name:
        return file;
      case PlannedAction::Spelling::index:
        return disk + "[" + std::to_string(position + 1) + "]";
    }
    return std::nullopt;
  }

  CallStep call_of(const PlannedAction& action, const std::string& disk) const {
    CallStep call;
    call.disk = disk;
    call.flags = action.flags;
    if (action.held) {
      call.bandwidth = 1;
      if (action.kind != Kind::copy_by_document) call.flags.emplace_back("bandwidth-bytes");
    }
    if (action.kind == Kind::pull) {
      call.api = CallStep::Api::block_pull;
    } else if (action.kind == Kind::rebase) {
      call.base = name_of(action, action.base, disk);
    } else if (action.kind == Kind::commit) {
      call.api = CallStep::Api::block_commit;
      call.base = name_of(action, action.base, disk);
      call.top = name_of(action, action.top, disk);
    } else if (action.kind == Kind::copy_by_document) {
      call.api = CallStep::Api::block_copy;
      call.destination = action.document;
      call.destination.path = "${dir}/" + action.destination;
      for (CopyDestination::Layer& layer : call.destination.backing)
        layer.file = "${dir}/" + layer.file;
      call.granularity = action.granularity;
    } else {
      call.base = "${dir}/" + action.destination;
      call.flags.insert(call.flags.begin(), "copy");
    }
    return call;
  }

  void start_job(const PlannedAction& action, const std::string& disk) {
    const CallStep call = call_of(action, disk);
    const model::DomainModel before = model_;
    const auto prediction = predict_call(model_, in_directory(call, kModelDirectory));
    const bool pulls = action.kind == Kind::pull || action.kind == Kind::rebase;
    if (pulls && meets_known_bugs(disk, before)) {
      model_ = before;
      return;
    }
    const bool unsteady = prediction.accepted() && prediction.course == model::Course::limited;
    if (prediction.unknown || unsteady) {
      model_ = before;
      return;
    }
    add(call);
    if (!prediction.accepted()) return;
    if (prediction.course == model::Course::fails) return wait(disk, "failed");
    if (prediction.course == model::Course::ready) go_on(disk);
  }

  // Pulls are wrong where the image below the active one is shorter (scenarios/bugs/
  // pull-shows-longer-base and pull-reads-nothing-beyond-backing): nothing can be found behind
  // that.
  static bool meets_known_bugs(const std::string& disk, const model::DomainModel& domain) {
    const auto links = domain.chain(disk).links;
    if (links.size() < 2) return false;
    const auto size = [&](std::size_t link) {
      const std::string file = links[link].path.substr(links[link].path.rfind('/') + 1);
      const auto files = domain.files();
      return std::ranges::find(files, file, &model::FileExpectation::name)->layer.size();
    };
    return size(1) < size(0);
  }

  // What nothing holds comes to its end or becomes ready.
  void go_on(const std::string& disk) {
    if (model_.ends_by_itself(disk)) {
      wait(disk, "completed");
      model_.on_completed(disk);
    } else {
      wait(disk, "ready");
      model_.on_ready(disk);
    }
  }

  void release(const std::string& disk) {
    CallStep call;
    call.api = CallStep::Api::block_job_set_speed;
    call.disk = disk;
    const bool held = model_.has_job(disk) && !model_.ready(disk);
    (void)predict_call(model_, call);
    add(std::move(call));
    if (held) go_on(disk);
  }

  void end_job(const std::string& disk, const std::vector<std::string>& flags) {
    CallStep call;
    call.api = CallStep::Api::block_job_abort;
    call.disk = disk;
    call.flags = flags;
    const auto prediction = predict_call(model_, call);
    add(std::move(call));
    if (!prediction.accepted()) return;
    const bool pivots = std::ranges::count(flags, "pivot") != 0;
    wait(disk, pivots ? "completed" : "canceled");
  }

  void wait(const std::string& disk, const std::string& status) {
    WaitStep step;
    step.disk = disk;
    step.status = status;
    add(std::move(step));
  }

  template <class Action>
  void add(Action action) {
    scenario_.steps.push_back({std::move(action), {}});
  }

  const DomainCase& drawn_;
  Scenario& scenario_;
  model::DomainModel model_;
};

class Shrinking {
 public:
  explicit Shrinking(const DomainCase& from) : from_(from) {}

  std::vector<DomainCase> run() {
    remove_actions();
    remove_disks();
    remove_images();
    remove_leases();
    if (from_.recipe == CopyRecipe::drive)
      propose([](DomainCase& it) { it.recipe = CopyRecipe::blockdev; });
    for (std::size_t i = 0; i < from_.actions.size(); ++i) simplify(i);
    for (std::size_t i = 0; i < from_.images.size(); ++i) simplify_image(i);
    return std::move(found_);
  }

 private:
  template <class Change>
  void propose(Change change) {
    DomainCase smaller = from_;
    change(smaller);
    repair(smaller.images);
    found_.push_back(std::move(smaller));
  }
  template <class T>
  static void erase(std::vector<T>& from, std::size_t at, std::size_t count = 1) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(at);
    from.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
  }

  void remove_actions() {
    for (std::size_t count = from_.actions.size() / 2; count > 0; count /= 2)
      for (std::size_t at = 0; at + count <= from_.actions.size(); at += count)
        propose([&](DomainCase& it) { erase(it.actions, at, count); });
  }
  void remove_disks() {
    if (from_.actives.size() < 2) return;
    for (std::size_t i = 0; i < from_.actives.size(); ++i)
      propose([&](DomainCase& it) { erase(it.actives, i); });
  }
  // What was backed by a removed image is backed by what is below it.
  void remove_images() {
    for (std::size_t i = 0; i < from_.images.size(); ++i) {
      const std::string name = from_.images[i].name;
      if (std::ranges::count(from_.actives, name) != 0) continue;  // it is some disk's own
      propose([&](DomainCase& it) {
        const std::string below = it.images[i].backing;
        erase(it.images, i);
        for (Image& image : it.images)
          if (image.backing == name) image.backing = below;
      });
    }
  }
  void remove_leases() {
    if (!from_.leases) return;
    propose([](DomainCase& it) { it.leases.reset(); });
    for (std::size_t i = 0; i < from_.leases->size(); ++i)
      propose([&](DomainCase& it) { erase(*it.leases, i); });
  }
  void simplify(std::size_t i) {
    const PlannedAction& action = from_.actions[i];
    for (std::size_t k = 0; k < action.flags.size(); ++k)
      propose([&](DomainCase& it) { erase(it.actions[i].flags, k); });
    if (action.held) propose([&](DomainCase& it) { it.actions[i].held = false; });
    for (std::size_t k = 0; k < action.modes.size(); ++k)
      if (!action.modes[k].empty())
        propose([&](DomainCase& it) { it.actions[i].modes[k].clear(); });
    if (action.spelling != PlannedAction::Spelling::path)
      propose([&](DomainCase& it) { it.actions[i].spelling = PlannedAction::Spelling::path; });
    if (action.granularity != 0) propose([&](DomainCase& it) { it.actions[i].granularity = 0; });
    if (!action.document.backing.empty())
      propose([&](DomainCase& it) { it.actions[i].document.backing.pop_back(); });
    if (action.document.terminated)
      propose([&](DomainCase& it) { it.actions[i].document.terminated = false; });
    if (action.guest.length > 1) propose([&](DomainCase& it) { it.actions[i].guest.length /= 2; });
  }
  void simplify_image(std::size_t i) {
    const Image& image = from_.images[i];
    for (std::size_t k = 0; k < image.writes.size(); ++k)
      propose([&](DomainCase& it) { erase(it.images[i].writes, k); });
    if (!image.backing_name.empty())
      propose([&](DomainCase& it) { it.images[i].backing_name.clear(); });
    if (image.format == Image::Format::qcow2 && image.cluster_size != Image().cluster_size)
      propose([&](DomainCase& it) { it.images[i].cluster_size = Image().cluster_size; });
    for (std::size_t k = 0; k < image.writes.size(); ++k)
      if (image.writes[k].length > 1)
        propose([&](DomainCase& it) { it.images[i].writes[k].length /= 2; });
  }

  const DomainCase& from_;
  std::vector<DomainCase> found_;
};

}  // namespace

PlannedScenario to_scenario(const DomainCase& drawn) {
  PlannedScenario planned;
  Scenario& scenario = planned.scenario;
  scenario.id = "explore/domain";
  scenario.title = "Random calls on a domain's disks";
  scenario.because = "the model and every target agree on any sequence of calls";
  scenario.images = drawn.images;
  for (std::size_t i = 0; i < drawn.actives.size(); ++i)
    scenario.disks.push_back({target_of(i), drawn.actives[i]});
  scenario.leases = drawn.leases;
  scenario.recipe = drawn.recipe;
  Planner(drawn, scenario).plan();
  if (scenario.steps.empty()) planned.unknown = "no step is left";
  return planned;
}

std::vector<DomainCase> smaller(const DomainCase& from) { return Shrinking(from).run(); }

}  // namespace conformance::property
