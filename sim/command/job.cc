// job-… and block-job-…: verbs on jobs.

#include "sim/job/job.h"

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

using JobPtr = std::shared_ptr<job::Job>;

Result<JobPtr> find_job(Context& context, const std::string& id) {
  if (JobPtr job = context.jobs.find(id)) return job;
  return Error{ErrorClass::generic, "Job not found"};
}

Result<JobPtr> find_block_job(Context& context, const std::string& id) {
  JobPtr job = context.jobs.find(id);
  if (job && job->is_block_job()) return job;
  return Error{ErrorClass::device_not_active, fmt::format("Block job '{}' not found", id)};
}

// A job that slept and was woken by a verb runs until it next waits, before the verb is answered.
Task<Result<Json>> answer_when_awake(Context& context, JobPtr job, Result<> verb) {
  if (!verb) co_return std::move(verb).error();
  while (job->is_waking()) co_await context.world.scheduler.yield();
  co_return Json::object();
}

// job-VERB { id }
template <auto verb>
Task<Result<Json>> job_verb(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_job(context, arguments["id"].get<std::string>()));
  co_return co_await answer_when_awake(context, job, (*job.*verb)());
}

Task<Result<Json>> job_cancel(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_job(context, arguments["id"].get<std::string>()));
  co_return co_await answer_when_awake(context, job, job->cancel(true));
}

// It is answered when the job has ended (measured on 7.2: "concluded" comes first).
Task<Result<Json>> job_finalize(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_job(context, arguments["id"].get<std::string>()));
  CO_TRY_OK(co_await job->finalize());
  co_return Json::object();
}

Task<Result<Json>> block_job_finalize(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_block_job(context, arguments["id"].get<std::string>()));
  CO_TRY_OK(co_await job->finalize());
  co_return Json::object();
}

// block-job-VERB { device } or { id }
template <auto verb>
Task<Result<Json>> block_job_verb(Context& context, Json arguments) {
  const std::string_view key = arguments.contains("device") ? "device" : "id";
  CO_TRY(const JobPtr job, find_block_job(context, arguments[key].get<std::string>()));
  co_return co_await answer_when_awake(context, job, (*job.*verb)());
}

Task<Result<Json>> block_job_cancel(Context& context, Json arguments) {
  const std::string device = arguments["device"].get<std::string>();
  CO_TRY(const JobPtr job, find_block_job(context, device));
  const bool force = arguments.value("force", false);
  if (!force && job->is_user_paused())
    co_return Error{ErrorClass::generic,
                    fmt::format("The block job for device '{}' is currently paused", device)};
  co_return co_await answer_when_awake(context, job, job->cancel(force));
}

Task<Result<Json>> block_job_set_speed(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_block_job(context, arguments["device"].get<std::string>()));
  const std::int64_t speed = arguments["speed"].get<std::int64_t>();
  co_return co_await answer_when_awake(context, job, job->set_speed(speed));
}

Task<Result<Json>> block_job_change(Context& context, Json arguments) {
  CO_TRY(const JobPtr job, find_block_job(context, arguments["id"].get<std::string>()));
  CO_TRY_OK(job->change(arguments["copy-mode"].get<std::string>()));
  co_return Json::object();
}

Task<Result<Json>> query_jobs(Context& context, Json) {
  Json list = Json::array();
  for (const JobPtr& job : context.jobs.all()) {
    Json entry = {{"id", job->id()},
                  {"type", job->type()},
                  {"status", job::name_of(job->status())},
                  {"current-progress", job->progress().current},
                  {"total-progress", job->progress().total}};
    if (!job->error().empty()) entry["error"] = job->error();
    list.push_back(std::move(entry));
  }
  co_return list;
}

Task<Result<Json>> query_block_jobs(Context& context, Json) {
  Json list = Json::array();
  for (const JobPtr& job : context.jobs.all()) {
    if (!job->is_block_job()) continue;
    Json entry = {{"device", job->id()},
                  {"type", job->type()},
                  {"status", job::name_of(job->status())},
                  {"len", job->progress().total},
                  {"offset", job->progress().current},
                  {"speed", job->speed()},
                  {"busy", job->is_busy()},
                  {"paused", job->is_user_paused() || job->is_paused() || job->is_drained()},
                  {"ready", job->is_ready()},
                  {"auto-finalize", job->settings().auto_finalize},
                  {"auto-dismiss", job->settings().auto_dismiss}};
    job->describe(entry);
    if (!job->error().empty()) entry["error"] = job->error();
    list.push_back(std::move(entry));
  }
  co_return list;
}

using job::Job;

constexpr std::array kCommands = {
    Command{"block-job-cancel", block_job_cancel},
    Command{"block-job-change", block_job_change},
    Command{"block-job-complete", block_job_verb<&Job::complete>},
    Command{"block-job-dismiss", block_job_verb<&Job::dismiss>},
    Command{"block-job-finalize", block_job_finalize},
    Command{"block-job-pause", block_job_verb<&Job::pause>},
    Command{"block-job-resume", block_job_verb<&Job::resume>},
    Command{"block-job-set-speed", block_job_set_speed},
    Command{"job-cancel", job_cancel},
    Command{"job-complete", job_verb<&Job::complete>},
    Command{"job-dismiss", job_verb<&Job::dismiss>},
    Command{"job-finalize", job_finalize},
    Command{"job-pause", job_verb<&Job::pause>},
    Command{"job-resume", job_verb<&Job::resume>},
    Command{"query-block-jobs", query_block_jobs},
    Command{"query-jobs", query_jobs},
};

}  // namespace

std::span<const Command> job_commands() { return kCommands; }

}  // namespace sim::command
