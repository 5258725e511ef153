// The model's bytes against the real qemu-img: images that the simulator left behind, a seeded
// sample of the matrix, pass its check, and show the bytes that the model says.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/model/domain_model.h"
#include "conformance/run/calls.h"
#include "conformance/run/describe.h"
#include "conformance/run/images.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

namespace fs = std::filesystem;

// What the model makes of a scenario, without any target.
class Foretold {
 public:
  explicit Foretold(const Scenario& scenario) : model_("/understudy") {
    sim::storage::MemoryFiles files;
    EXPECT_TRUE(make_images(scenario, files, "/understudy"));
    describe(
        scenario,
        [&](const std::string& file) -> std::optional<std::uint64_t> {
          return files.find("/understudy/" + file)->size();
        },
        model_);
    for (const Step& step : scenario.steps)
      std::visit([&](const auto& action) { perform(action); }, step.action);
  }
  const model::DomainModel& model() const { return model_; }

 private:
  void perform(const CallStep& call) { predict_call(model_, in_directory(call, "/understudy")); }
  void perform(const GuestStep& step) {
    using enum GuestStep::Operation;
    if (step.operation == write)
      model_.guest_write(step.disk, step.offset, step.length, step.pattern);
    if (step.operation == zero) model_.guest_zero(step.disk, step.offset, step.length);
    if (step.operation == discard) model_.guest_discard(step.disk, step.offset, step.length);
  }
  void perform(const WaitStep& step) {
    if (step.status == "ready") model_.on_ready(step.disk);
  }
  void perform(const QmpStep&) {}
  void perform(const CheckStep&) {}
  void perform(const FaultStep&) {}
  void perform(const PowerCutStep&) {}
  void perform(const RestStep&) {}

  model::DomainModel model_;
};

class ScenarioModelBytes : public ::testing::Test {
 protected:
  // Runs a scenario on the simulator; its files are in place_ then.
  void run_and_keep(const Scenario& scenario) {
    SimTarget target = testing::simulator();
    ExecutionOptions options;
    options.keep = directory_ / "kept";
    fs::remove_all(options.keep);
    const Executed executed = execute(scenario, target, options);
    ASSERT_TRUE(executed.broken.empty()) << executed.broken;
    ASSERT_TRUE(executed.divergences.empty()) << executed.divergences.front().requirement;
    place_ = fs::directory_iterator(options.keep)->path() / "sim_7.2";
  }

  // Headers name files of the simulator's directory, so the chain is spelled out.
  std::string opened(const std::vector<model::FileExpectation>& files,
                     const std::vector<std::string>& chain) const {
    Json options;
    for (const std::string& name : std::vector(chain.rbegin(), chain.rend())) {
      const auto& file = *std::ranges::find(files, name, &model::FileExpectation::name);
      Json layer = {{"driver", name_of(file.layer.format())},
                    {"file", {{"driver", "file"}, {"filename", (place_ / name).string()}}}};
      if (file.layer.format() == model::Format::qcow2) layer["backing"] = options;
      options = std::move(layer);
    }
    return "'json:" + options.dump() + "'";
  }

  // The model's view as a raw file; false where the model leaves a byte open.
  bool write_view(const model::View& view, const std::string& path) const {
    std::ofstream out(path, std::ios::binary);
    for (const model::ViewRun& run : view) {
      if (!run.pattern()) return false;
      out << std::string(run.length, static_cast<char>(*run.pattern()));
    }
    return true;
  }

  void compare(const Scenario& scenario) {
    const Foretold foretold(scenario);
    const std::vector<model::FileExpectation> files = foretold.model().files();
    for (const model::FileExpectation& file : files) {
      SCOPED_TRACE(scenario.id + ": " + file.name);
      ASSERT_TRUE(fs::exists(place_ / file.name));
      if (file.in_use) continue;
      if (file.layer.format() == model::Format::qcow2) {
        EXPECT_EQ(inspect::run("qemu-img check -q " + opened(files, {file.name})).status, 0);
        ++checked_;
      }
      const std::string wanted = directory_ / "wanted";
      if (!write_view(foretold.model().cold_view(file.name), wanted)) continue;
      EXPECT_EQ(inspect::run("qemu-img compare -q " +
                             fmt::format("'json:{}' {}",
                                         Json{{"driver", "raw"},
                                              {"file", {{"driver", "file"}, {"filename", wanted}}}}
                                             .dump(),
                                         opened(files, file.cold_chain)))
                    .status,
                0);
      const auto info = inspect::run("qemu-img info --output=json " + opened(files, {file.name}));
      EXPECT_EQ(Json::parse(info.output, nullptr, false).value("virtual-size", 0U),
                fs::file_size(wanted));
      ++compared_;
      if (file.name == "copy" && !file.unchanged) ++copies_;
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(place_), {}),
              static_cast<std::ptrdiff_t>(files.size() + 1))
        << "the files and the transcript";
  }

  inspect::TestDirectory directory_;
  fs::path place_;
  int checked_ = 0, compared_ = 0, copies_ = 0;
};

TEST_F(ScenarioModelBytes, QemuImgReadsWhatTheModelSays) {
  ASSERT_EQ(inspect::run("qemu-img --version").status, 0) << "install the package qemu-utils";
  unsigned taken = 0;
  for (const Scenario& scenario : testing::matrix()) {
    if (!in_shard(20, scenario.id, 1, 46)) continue;
    ++taken;
    ASSERT_NO_FATAL_FAILURE(run_and_keep(scenario));
    ASSERT_NO_FATAL_FAILURE(compare(scenario));
  }
  EXPECT_GE(taken, 30U);
  EXPECT_GE(checked_, 60);
  EXPECT_GE(compared_, 60);
  EXPECT_GE(copies_, 10) << "of them written by a copy";
}

}  // namespace
}  // namespace conformance
