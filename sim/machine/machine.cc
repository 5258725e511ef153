#include "sim/machine/machine.h"

#include "sim/block/debugger.h"

namespace sim::machine {

Machine::Machine(storage::FileSystem& files, MachineOptions options)
    : world_(options.seed),
      graph_(world_, files, *options.profile),
      events_(world_),
      jobs_(*this),
      context_{world_,
               *options.profile,
               qmp::Schema::of(*options.profile),
               graph_,
               jobs_,
               events_,
               devices_,
               controllers_,
               standard_output_,
               negotiated_,
               quitting_,
               options.mirror_canary,
               options.compat,
               options.can_suspend} {
  graph_.observer = this;
  context_.monitors = std::move(options.monitors);
  if (options.explore) world_.scheduler.explore(world_.rng.fork());
}

static Task<bool> close_nodes(block::Graph& graph) {
  co_await graph.close_all();
  co_return true;
}

// Closes every image as QEMU does at its end; nodes go before the World.
Machine::~Machine() {
  for (const block::NodePtr& node : graph_.all())
    if (block::Debugger* debugger = node->debugger()) debugger->remove_all_breakpoints();
  world_.scheduler.abandon();
  for (const auto& job : jobs_.all()) job->abandon();
  devices_.clear();
  context_.drives.clear();
  graph_.lost.clear();
  sim::run(world_, close_nodes(graph_));
  world_.scheduler.abandon();
  graph_.forget_all();
}

Json Machine::greeting() const {
  const qmp::Profile& profile = context_.profile;
  return {
      {"QMP",
       {{"version",
         {{"qemu", {{"major", profile.major}, {"minor", profile.minor}, {"micro", profile.micro}}},
          {"package", profile.package}}},
        {"capabilities", {"oob"}}}}};
}

// A command that drains may wait for jobs; none has reason to wait longer than this virtual time.
static constexpr Duration kCommandLimit = milliseconds(600'000);

static Task<void> execute_into(command::Context& context, Json request,
                               std::optional<Json>& reply) {
  reply = co_await command::execute(context, std::move(request));
}

void Machine::settle() {
  constexpr unsigned kStepsMax = 1'000'000;  // a job may go on for ever
  for (unsigned i = 0; i < kStepsMax && world_.scheduler.next() == world_.scheduler.now(); ++i)
    world_.scheduler.step();
}

std::optional<Json> Machine::execute(Json request) {
  std::optional<Json> reply;
  if (context_.crash) return reply;
  world_.scheduler.spawn(execute_into(context_, std::move(request), reply));
  const Instant limit = world_.scheduler.now() + kCommandLimit;
  while (!reply)
    if (!world_.scheduler.step(limit)) return std::nullopt;
  if (context_.crash) return std::nullopt;
  return reply;
}

static Task<Result<>> add_and_collect(command::Context& context, Json options) {
  Result<> added = co_await command::add_drive(context, std::move(options));
  co_await context.graph.collect();
  co_return added;
}

Result<> Machine::add_drive(const Json& options) {
  return sim::run(world_, add_and_collect(context_, options));
}

std::optional<qmp::Event> Machine::take_event() {
  if (events_.empty()) return std::nullopt;
  return events_.take();
}

std::optional<qmp::Event> Machine::run_until_event(Duration limit) {
  const Instant end = world_.scheduler.now() + limit;
  while (events_.empty())
    if (!world_.scheduler.step(end)) return std::nullopt;
  return events_.take();
}

void Machine::status_changed(const job::Job& job) {
  events_.emit("JOB_STATUS_CHANGE", {{"id", job.id()}, {"status", job::name_of(job.status())}});
}

void Machine::emit_block_job_event(const char* name, const job::Job& job, bool with_error) {
  if (!job.is_block_job()) return;
  Json data = {{"type", job.type()},
               {"device", job.id()},
               {"len", job.progress().total},
               {"offset", job.progress().current},
               {"speed", job.speed()}};
  if (with_error && !job.error().empty())
    data["error"] =
        graph_.profile().completion_has_own_text ? job.error() : os_error(job.error_number()).desc;
  events_.emit(name, std::move(data));
}

void Machine::ready(const job::Job& job) { emit_block_job_event("BLOCK_JOB_READY", job, false); }
void Machine::completed(const job::Job& job) {
  emit_block_job_event("BLOCK_JOB_COMPLETED", job, true);
}
void Machine::cancelled(const job::Job& job) {
  emit_block_job_event("BLOCK_JOB_CANCELLED", job, false);
}
void Machine::failed_request(const job::Job& job, bool is_read, std::string_view action) {
  events_.emit(
      "BLOCK_JOB_ERROR",
      {{"device", job.id()}, {"operation", is_read ? "read" : "write"}, {"action", action}});
}
void Machine::threshold_exceeded(const block::Node& node, std::uint64_t threshold,
                                 std::uint64_t exceeded_by) {
  events_.emit("BLOCK_WRITE_THRESHOLD", {{"node-name", node.name()},
                                         {"amount-exceeded", exceeded_by},
                                         {"write-threshold", threshold}});
}
void Machine::pending(const job::Job& job) {
  if (job.is_block_job())
    events_.emit("BLOCK_JOB_PENDING", {{"type", job.type()}, {"id", job.id()}});
}

}  // namespace sim::machine
