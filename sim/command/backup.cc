// blockdev-backup, drive-backup, alone or as actions of a transaction.

#include "sim/job/backup.h"

#include <fmt/format.h>

#include <array>
#include <climits>

#include "sim/block/chain.h"
#include "sim/block/debugger.h"
#include "sim/command/action.h"
#include "sim/command/new_image.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

job::BitmapMode mode_of(const std::string& name) {
  if (name == "never") return job::BitmapMode::never;
  return name == "always" ? job::BitmapMode::always : job::BitmapMode::on_success;
}

job::BackupSync sync_of(const std::string& name) {
  if (name == "full") return job::BackupSync::full;
  if (name == "top") return job::BackupSync::top;
  return name == "none" ? job::BackupSync::none : job::BackupSync::bitmap;
}

// What the bitmap is to be good for, checked in QEMU's order.
Result<> read_bitmap(const Json& arguments, job::BackupSettings& settings) {
  const std::string sync = arguments["sync"].get<std::string>();
  std::string mode = arguments.value("bitmap-mode", "");
  const bool by_bitmap = sync == "bitmap" || sync == "incremental";
  if (by_bitmap && !arguments.contains("bitmap"))
    return generic(fmt::format("must provide a valid bitmap name for '{}' sync mode", sync));
  if (sync == "incremental") {
    if (!mode.empty() && mode != "on-success")
      return generic("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    mode = "on-success";
  }
  settings.bitmap_mode = mode_of(mode);
  if (!arguments.contains("bitmap")) {
    if (!mode.empty()) return generic("Cannot specify bitmap sync mode without a bitmap");
    return ok();
  }
  const std::string name = arguments["bitmap"].get<std::string>();
  settings.bitmap = settings.source->find_bitmap(name);
  if (!settings.bitmap) return generic(fmt::format("Bitmap '{}' could not be found", name));
  if (mode.empty()) return generic("Bitmap sync mode must be given when providing a bitmap");
  TRY_OK(settings.bitmap->check(block::DirtyBitmap::Check::usable));
  if (sync == "none") return generic("sync mode 'none' does not produce meaningful bitmap outputs");
  if (mode == "never" && !by_bitmap)
    return generic(
        fmt::format("Bitmap sync mode 'never' has no meaningful effect when combined with sync "
                    "mode '{}'",
                    sync));
  return ok();
}

Result<> read_performance(const Json& arguments, job::BackupSettings& settings) {
  const Json perf = arguments.value("x-perf", Json::object());
  const std::int64_t workers = perf.value("max-workers", std::int64_t{64});
  const std::int64_t chunk = perf.value("max-chunk", std::int64_t{0});
  settings.cbw.min_cluster_size = perf.value("min-cluster-size", std::uint64_t{0});
  if (workers < 1 || workers > INT_MAX)
    return generic(fmt::format("max-workers must be between 1 and {}", INT_MAX));
  if (chunk < 0) return generic("max-chunk must be zero (which means no limit) or positive");
  settings.workers = static_cast<unsigned>(workers);
  settings.max_chunk = static_cast<std::uint64_t>(chunk);
  return ok();
}

// The clusters that such a backup allocates in vain are not allocated here.
Result<> check_unwatched(const job::BackupSettings& settings) {
  block::Graph& graph = settings.target->graph();
  if (!graph.profile().backup_tries_copy_range || settings.compress) return ok();
  block::Node* const file = settings.target->file();
  block::Debugger* const debugger = file == nullptr ? nullptr : file->debugger();
  if (debugger == nullptr || !debugger->expects_events()) return ok();
  return generic(
      "understudy: a backup onto an image whose events driver 'blkdebug' waits for is not in this "
      "version");
}

Result<> check_nodes(const job::BackupSettings& settings) {
  if (settings.source == settings.target) return generic("Source and target cannot be the same");
  TRY_OK(check_unwatched(settings));
  if (settings.compress && !settings.target->supports_compression())
    return generic(fmt::format("Compression is not supported for this drive {}",
                               settings.target->device_name()));
  TRY_OK(settings.source->check_allowed(block::Op::backup_source));
  return settings.target->check_allowed(block::Op::backup_target);
}

// What both commands have (QEMU: do_backup_common, backup_job_create).
Result<std::shared_ptr<job::Backup>> create_job(Context& context, const Json& arguments,
                                                job::BackupSettings settings,
                                                std::shared_ptr<job::Transaction> transaction) {
  TRY_OK(read_bitmap(arguments, settings));
  settings.sync = sync_of(arguments["sync"].get<std::string>());
  settings.compress = arguments.value("compress", false);
  TRY_OK(check_nodes(settings));
  TRY_OK(read_performance(arguments, settings));
  settings.job = read_job_settings(arguments, *settings.source);
  settings.filter_node_name = given_text(arguments, "filter-node-name");
  settings.on_source_error = on_error_of(arguments, "on-source-error");
  settings.on_target_error = on_error_of(arguments, "on-target-error");
  settings.cbw.discard_source = arguments.value("discard-source", false);
  settings.cbw.fails_snapshot = arguments.value("on-cbw-error", "") == "break-snapshot";
  const std::int64_t speed = arguments.value("speed", std::int64_t{0});
  settings.speed = static_cast<std::uint64_t>(speed);
  const std::string id = settings.job.id;
  const auto job = std::make_shared<job::Backup>(context.graph, std::move(settings));
  TRY_OK(job->take_source());
  if (Result<> usable = context.jobs.check_new_id(id); !usable) {
    job->refuse();
    return std::move(usable).error();
  }
  Result<> ready = ok();
  if (speed < 0) ready = generic("Parameter 'speed' expects a non-negative value");
  if (ready) ready = job->take_nodes();
  if (!ready) {
    context.jobs.fail_early(*job);
    return std::move(ready).error();
  }
  context.jobs.create(job, std::move(transaction));
  return job;
}

// The target of drive-backup: made, unless it is there, and opened.
Task<Result<block::NodePtr>> open_target(Context& context, Json& arguments,
                                         const block::NodePtr& source) {
  const bool existing = arguments.value("mode", "absolute-paths") == "existing";
  const std::string format = arguments.value("format", existing ? "" : source->driver());
  CO_TRY_OK(source->check_allowed(block::Op::backup_source));
  const std::string sync = arguments["sync"].get<std::string>();
  const block::Node* backing = nullptr;
  if (sync == "top") backing = block::next_layer(*source);
  if (sync == "top" && backing == nullptr) arguments["sync"] = "full";
  if (sync == "none") backing = source.get();
  const std::string name = arguments["target"].get<std::string>();
  if (!existing) {
    NewImage image{name, format, source->size()};
    if (backing != nullptr) {
      image.backing_file = explicit_node(*backing).filename();
      image.backing_format = explicit_node(*backing).driver();
    }
    CO_TRY_OK(co_await create_image(context, std::move(image)));
  }
  CO_TRY(block::NodePtr target, co_await open_image(context, name, format,
                                                    {.is_backup = true,
                                                     .backing = sync != "none",
                                                     .probes = !arguments.contains("format"),
                                                     .cache_direct = source->cache_direct,
                                                     .cache_no_flush = source->cache_no_flush}));
  if (sync == "none") CO_TRY_OK(context.graph.set_backing(*target, source));
  co_return target;
}

// Source and target are known, and the source is in a drained section until all is decided.
Task<Result<Prepared>> prepare(Context& context, Json arguments, job::BackupSettings settings,
                               std::shared_ptr<job::Transaction> jobs) {
  const block::NodePtr source = settings.source;
  auto created = create_job(context, arguments, std::move(settings), std::move(jobs));
  if (!created) {
    context.graph.drain_end(*source);
    co_return std::move(created).error();
  }
  const std::shared_ptr<job::Backup> job = *std::move(created);
  co_return Prepared{.commit = [job]() -> Task<void> {
                       job->start();
                       co_return;
                     },
                     .abort = [job] { job->cancel_unstarted(); },
                     .clean = [&context, source] { context.graph.drain_end(*source); }};
}

Task<Result<Prepared>> blockdev_backup(Context& context, Json arguments,
                                       std::shared_ptr<job::Transaction> jobs) {
  job::BackupSettings settings;
  CO_TRY(settings.source, node_or_device(context, arguments["device"].get<std::string>()));
  CO_TRY(settings.target, node_or_device(context, arguments["target"].get<std::string>()));
  co_await begin_drained(context, settings.source);
  co_return co_await prepare(context, std::move(arguments), std::move(settings), std::move(jobs));
}

Task<Result<Prepared>> drive_backup(Context& context, Json arguments,
                                    std::shared_ptr<job::Transaction> jobs) {
  job::BackupSettings settings;
  CO_TRY(settings.source, root_node(context, arguments["device"].get<std::string>()));
  const block::NodePtr source = settings.source;
  co_await begin_drained(context, source);
  auto target = co_await open_target(context, arguments, source);
  if (!target) {
    context.graph.drain_end(*source);
    co_return std::move(target).error();
  }
  settings.target = *std::move(target);
  co_return co_await prepare(context, std::move(arguments), std::move(settings), std::move(jobs));
}

constexpr Action kBlockdevBackup{"blockdev-backup", blockdev_backup, true, true};
constexpr Action kDriveBackup{"drive-backup", drive_backup, true, true};
constexpr std::array kActions = {kBlockdevBackup, kDriveBackup};

constexpr std::array kCommands = {
    Command{kBlockdevBackup.type, alone<kBlockdevBackup>},
    Command{kDriveBackup.type, alone<kDriveBackup>},
};

}  // namespace

std::span<const Action> backup_actions() { return kActions; }
std::span<const Command> backup_commands() { return kCommands; }

}  // namespace sim::command
