// One fake QEMU: a World, a graph, jobs, devices, and a monitor to talk to.
//
// It does nothing between calls: time passes only in run_until_event() and while a command runs.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/command/context.h"

namespace sim::machine {

struct MachineOptions {
  const qmp::Profile* profile = qmp::find_profile("7.2");
  std::uint64_t seed = 1;
  bool explore = false;  // run due work in an order drawn from the seed
  job::MirrorCanary mirror_canary = job::MirrorCanary::none;
  qmp::Compat compat = {};
  bool can_suspend = true;  // false: as `-machine none`
  // By id; a real QEMU that is a target has one of that name.
  std::vector<std::string> monitors = {"monitor"};
};

class Machine final : private job::Observer, private block::GraphObserver {
 public:
  // `files` is where file names lead; it must outlive the machine.
  Machine(storage::FileSystem& files, MachineOptions options);
  ~Machine() override;

  // What a client reads first: {"QMP": {"version", "capabilities"}}.
  Json greeting() const;

  // Runs one QMP request and gives its reply.  Jobs go on only as far as the command needs them to.
  // Nothing if it can never be answered: the command waits for something that cannot happen.
  std::optional<Json> execute(Json request);
  // What this release is known to crash of was done to it: nothing is answered any more.  The text
  // says what.
  const std::optional<std::string>& crashed() const { return context_.crash; }
  // Does all that is due now.
  void settle();

  // What -drive does, with its options as text ({"if": "none", "file": …}).
  Result<> add_drive(const Json& options);

  // The oldest event not yet taken; runs pending work until there is one, but no further than
  // `limit` of virtual time from now.
  std::optional<qmp::Event> run_until_event(Duration limit);
  std::optional<qmp::Event> take_event();

  // What was printed on standard output since the last call.
  std::string take_output() { return std::exchange(standard_output_, {}); }

  // Whether device_add's properties are text from a command line, from now on.
  void take_properties_as_text(bool text) { context_.properties_are_text = text; }

  bool has_quit() const { return quitting_; }
  World& world() { return world_; }
  const qmp::Profile& profile() const { return context_.profile; }

 private:
  void status_changed(const job::Job& job) override;
  void ready(const job::Job& job) override;
  void pending(const job::Job& job) override;
  void completed(const job::Job& job) override;
  void cancelled(const job::Job& job) override;
  void failed_request(const job::Job& job, bool is_read, std::string_view action) override;
  void printed(std::string_view text) override { standard_output_ += text; }
  void threshold_exceeded(const block::Node& node, std::uint64_t threshold,
                          std::uint64_t exceeded_by) override;
  void emit_block_job_event(const char* name, const job::Job& job, bool with_error);

  World world_;
  block::Graph graph_;
  qmp::Events events_;
  job::Jobs jobs_;
  std::vector<std::unique_ptr<device::ScsiController>> controllers_;
  std::vector<std::unique_ptr<device::Disk>> devices_;
  std::string standard_output_;
  bool negotiated_ = false;
  bool quitting_ = false;
  command::Context context_;
};

}  // namespace sim::machine
