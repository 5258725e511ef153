#include "conformance/property/pull_case.h"

#include <rapidcheck.h>

#include <utility>

#include "conformance/property/drawing.h"
#include "conformance/run/calls.h"
#include "conformance/run/describe.h"
#include "conformance/run/guest_io.h"

namespace conformance::property {

namespace {

constexpr std::uint64_t kIncrement = 512_KiB;
const std::string kDisk = "vda";

// Writes the steps down and does to the model what they do.
class Planner {
 public:
  Planner(const PullCase& drawn, Scenario& scenario, model::DomainModel& domain)
      : drawn_(drawn), scenario_(scenario), model_(domain) {}

  void plan(PullForm form) {
    const bool by_increments = form == PullForm::increments;
    for (std::size_t i = 0; i < drawn_.actions.size(); ++i) {
      if (!by_increments && i == drawn_.background) pull_all();
      if (const auto* guest = std::get_if<GuestStep>(&drawn_.actions[i]))
        perform(*guest);
      else if (by_increments)
        pull(std::get<PullCase::Cursor>(drawn_.actions[i]));
    }
    if (!by_increments && has_backing()) pull_all();
    const std::uint64_t size = drawn_.images.back().size;
    for (std::uint64_t at = 0; has_backing(); at += kIncrement) pull(std::min(at, size));
    CheckStep check;
    check.disk = kDisk;
    check.chain = {{drawn_.images.back().file}};
    add(std::move(check));
  }

 private:
  bool has_backing() const { return model_.chain(kDisk).links.size() > 1; }

  void perform(const GuestStep& step) {
    tell(model_, step);
    add(step);
  }

  void pull(std::uint64_t cursor) {
    CallStep call;
    call.api = CallStep::Api::pull;
    call.disk = kDisk;
    call.cursor = cursor;
    const auto prediction = predict_call(model_, call);
    add(std::move(call));
    if (!prediction.accepted()) return;
    // No job was interrupted: what each place is, is known.
    model_.on_pulled(kDisk, prediction.drops_backing.value());
    if (*prediction.drops_backing) complete();
  }

  void pull_all() {
    CallStep call;
    call.api = CallStep::Api::pull_all;
    call.disk = kDisk;
    (void)predict_call(model_, call);
    add(std::move(call));
    complete();
  }

  void complete() {
    add(WaitStep{.disk = kDisk, .status = "completed", .event = {}, .data = {}});
    model_.on_completed(kDisk);
  }

  template <class Action>
  void add(Action action) {
    scenario_.steps.push_back({std::move(action), {}});
  }

  const PullCase& drawn_;
  Scenario& scenario_;
  model::DomainModel& model_;
};

class PullDrawing : Drawing {
 public:
  using Drawing::Drawing;

  PullCase draw() {
    const std::uint64_t size = this->size();
    const std::uint64_t count = 2 + rng_.below(3);
    for (std::uint64_t i = 0; i < count; ++i) {
      Image image;
      image.name = image.file = i + 1 == count ? "top" : "base" + std::to_string(i);
      image.size = i + 1 < count && one_in(4) ? this->size() : size;
      image.cluster_size = cluster_size();
      if (i == 0 && one_in(4)) image.format = Image::Format::raw;
      if (i > 0) image.backing = drawn_.images.back().name;
      fill(image, static_cast<std::uint8_t>(10 + i));
      drawn_.images.push_back(std::move(image));
    }
    const std::uint64_t actions = rng_.below(13);
    for (std::uint64_t i = 0; i < actions; ++i) {
      if (one_in(2))
        drawn_.actions.emplace_back(guest_step(kDisk, size, static_cast<std::uint8_t>(100 + i)));
      else
        drawn_.actions.emplace_back(cursor(size));
    }
    drawn_.background = rng_.below(actions + 1);
    return std::move(drawn_);
  }

 private:
  PullCase::Cursor cursor(std::uint64_t size) {
    if (one_in(12)) return size + rng_.below(2);
    if (one_in(2)) return sim::align_down(rng_.below(size), kIncrement);
    return place(size);
  }

  PullCase drawn_;
};

template <class T>
void remove_at(std::vector<T>& from, std::size_t at) {
  from.erase(from.begin() + static_cast<std::ptrdiff_t>(at));
}

std::vector<PullCase> smaller(const PullCase& from) {
  std::vector<PullCase> found;
  const auto propose = [&](auto change) {
    PullCase candidate = from;
    change(candidate);
    found.push_back(std::move(candidate));
  };
  for (std::size_t i = 0; i < from.actions.size(); ++i)
    propose([&](PullCase& it) { remove_at(it.actions, i); });
  if (from.images.size() > 2)
    propose([&](PullCase& it) {
      remove_at(it.images, 0);
      it.images.front().backing.clear();
    });
  for (std::size_t i = 0; i < from.images.size(); ++i)
    for (std::size_t k = 0; k < from.images[i].writes.size(); ++k)
      propose([&](PullCase& it) { remove_at(it.images[i].writes, k); });
  for (std::size_t i = 0; i < from.images.size(); ++i)
    if (from.images[i].cluster_size != Image().cluster_size)
      propose([&](PullCase& it) { it.images[i].cluster_size = Image().cluster_size; });
  return found;
}

}  // namespace

PlannedPull to_scenario(const PullCase& drawn, PullForm form) {
  PlannedPull result{.planned = {}, .end = model::DomainModel("/dir", true)};
  Scenario& scenario = result.planned.scenario;
  scenario.id = "explore/pull";
  scenario.title = "A pull by increments, or in the background, while the guest writes";
  scenario.because = "both forms come to the same end (libvir-list, May 2011)";
  scenario.dialect = Dialect::as_proposed;
  scenario.images = drawn.images;
  scenario.disks = {{kDisk, drawn.images.back().name}};
  describe(scenario, [](const std::string&) { return std::nullopt; }, result.end);
  Planner(drawn, scenario, result.end).plan(form);
  return result;
}

rc::Gen<PullCase> pull_cases() {
  return [](const rc::Random& random, int) {
    return rc::shrinkable::shrinkRecur(
        PullDrawing(rc::Random(random).next()).draw(),
        [](const PullCase& from) { return rc::seq::fromContainer(smaller(from)); });
  };
}

}  // namespace conformance::property
