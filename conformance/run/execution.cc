#include "conformance/run/execution.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "conformance/model/durable.h"
#include "conformance/run/calls.h"
#include "conformance/run/describe.h"
#include "conformance/run/destination_xml.h"
#include "conformance/run/guest_io.h"
#include "conformance/run/images.h"
#include "conformance/run/keep.h"
#include "conformance/run/members.h"
#include "conformance/run/snapshot_xml.h"
#include "conformance/run/transcript.h"
#include "conformance/run/watched_leases.h"
#include "sim/base/text.h"

namespace conformance {

namespace {

using std::chrono::milliseconds;

// Generous: a loaded machine is slow, and only a failure ever waits that long.
constexpr milliseconds kEventLimit{30'000};
constexpr unsigned kForEver = 1U << 16;  // faults that one which lasts counts for

std::string to_text(const std::optional<DomainError>& error) {
  return error ? fmt::format("{}/{} \"{}\"", error->domain, error->code, error->message)
               : std::string("success");
}

class Execution {
 public:
  Execution(const Scenario& scenario, Session& session, const ExecutionOptions& options)
      : scenario_(scenario),
        session_(session),
        options_(options),
        directory_(session.files().directory()),
        hypervisor_(session.hypervisor(), result_.transcript),
        model_(directory_, scenario.dialect == Dialect::as_proposed),
        passphrases_(passphrases_of(scenario, directory_)) {}

  Executed run() {
    if (prepare()) {
      for (std::size_t i = 0; i < scenario_.steps.size() && !stopped_; ++i) {
        place_ = fmt::format("step {}", i + 1);
        std::visit([&](const auto& step) { perform(step); }, scenario_.steps[i].action);
      }
      place_ = "end";
      if (!stopped_) check_everything(nullptr);
    }
    result_.trace_hash = session_.trace_hash();
    if (options_.hash_bytes)
      for (const auto& [name, digest] : check::digests_of(session_.files()))
        result_.bytes_hash = (result_.bytes_hash ^ digest) * 0x9e3779b97f4a7c15U;
    return std::move(result_);
  }

 private:
  // --- getting ready -----------------------------------------------------------------------------

  bool prepare() {
    const sim::Result<> made = make_images(scenario_, session_);
    if (!made) return broken("cannot make the images: " + made.error().desc);
    describe(
        scenario_,
        [&](const std::string& file) { return session_.files().size(directory_ + "/" + file); },
        model_);
    for (const Disk& disk : scenario_.disks)
      durable_.emplace(disk.target, model::Durable(model_.guest_view(disk.target)));
    before_ = check::remember(session_.files());
    DomainDefinition definition;
    definition.dialect = scenario_.dialect;
    definition.persistent = scenario_.persistent;
    definition.recipe = scenario_.recipe;
    for (const Disk& disk : scenario_.disks) {
      const Image& image = *std::ranges::find(scenario_.images, disk.source, &Image::name);
      definition.disks.push_back({disk.target, directory_ + "/" + image.file,
                                  image.format == Image::Format::raw ? "raw" : "qcow2",
                                  passphrases_});
    }
    if (scenario_.leases) {
      leases_.emplace(*scenario_.leases, hypervisor_, session_.files());
      definition.locks = &leases_->locks();
      definition.labels = &leases_->order();
    }
    auto domain = start(definition);
    if (!domain) return failed("starting the domain", domain.error());
    domain_ = *std::move(domain);
    return true;
  }

  DomainResult<std::unique_ptr<DomainApi>> start(const DomainDefinition& definition) {
    if (auto own = session_.start_domain(definition, result_.transcript)) {
      result_.has_own_domain = true;
      return *std::move(own);
    }
    DomainDefinition ours = definition;
    ours.restart = [this] {
      auto restarted = session_.restart();
      if (leases_) leases_->order().restarted();
      return restarted;
    };
    Hypervisor& hypervisor = leases_ ? static_cast<Hypervisor&>(leases_->order()) : hypervisor_;
    return Domain::start(hypervisor, session_.files(), ours);
  }

  // --- what went wrong ---------------------------------------------------------------------------

  bool broken(std::string why) {
    result_.broken = std::move(why);
    stopped_ = true;
    return false;
  }

  void diverge(DivergenceClass divergence_class, std::string requirement, std::string expected,
               std::string actual) {
    result_.divergences.push_back(
        {divergence_class, std::move(requirement), std::move(expected), std::move(actual), place_});
  }

  bool failed(const std::string& doing, const TargetFailure& failure) {
    stopped_ = true;
    if (failure.kind == TargetFailure::Kind::harness) return broken(doing + ": " + failure.detail);
    diverge(
        failure.kind == TargetFailure::Kind::crash ? DivergenceClass::crash : DivergenceClass::hang,
        "the hypervisor goes on answering", "an answer to " + doing, failure.detail);
    return false;
  }

  bool failed(const std::string& doing, const DomainFailure& failure) {
    if (const auto* target = std::get_if<TargetFailure>(&failure)) return failed(doing, *target);
    diverge(DivergenceClass::error, doing + " succeeds", "success",
            to_text(std::get<DomainError>(failure)));
    stopped_ = true;
    return false;
  }

  // --- steps -------------------------------------------------------------------------------------

  void perform(const CallStep& step) {
    const CallStep call = in_directory(step, directory_);
    place_ += fmt::format(": {}", api_name(call.api));
    const bool of_snapshot = is_snapshot_call(call.api);
    Json told = {{"flags", call.flags}};
    if (of_snapshot)
      told["name"] = call.name;
    else
      told.update({{"disk", call.disk}, {"bandwidth", call.bandwidth}});
    if (call.api == CallStep::Api::snapshot_create) told["xml"] = to_xml(call.name, call.snapshot);
    const bool commits = call.api == CallStep::Api::block_commit;
    if (call.base || call.api == CallStep::Api::block_rebase || commits)
      told["base"] = call.base ? Json(*call.base) : Json();
    if (commits) told["top"] = call.top ? Json(*call.top) : Json();
    if (call.cursor) told["cursor"] = *call.cursor;
    if (call.api == CallStep::Api::block_copy) {
      told["destination"] = to_xml(call.destination);
      told["granularity"] = call.granularity;
      told["buf-size"] = call.buf_size;
    }
    result_.transcript.push_back(
        {TranscriptEntry::Kind::call, std::string(api_name(call.api)), std::move(told)});
    // What has ended before the call is known to both.
    if (!drain_events()) return;
    const bool starts = !of_snapshot && call.api != CallStep::Api::block_job_abort &&
                        call.api != CallStep::Api::block_job_set_speed &&
                        call.api != CallStep::Api::pull_info &&
                        call.api != CallStep::Api::pull_abort;
    const model::CallPrediction prediction = predict_call(model_, call);
    const DomainResult<CallAnswer> answer = make_call(*domain_, call);
    // The guest is at another time.
    if (answer && call.api == CallStep::Api::snapshot_revert)
      for (const Disk& disk : scenario_.disks)
        durable_.at(disk.target).changed(model_.guest_view(disk.target));
    if (answer && starts) earlier_events_[call.disk] = events_.size();
    judge_call(call, prediction, answer);
  }

  void judge_call(const CallStep& call, const model::CallPrediction& prediction,
                  const DomainResult<CallAnswer>& answer) {
    std::optional<DomainError> actual;
    if (!answer) {
      if (const auto* target = std::get_if<TargetFailure>(&answer.error())) {
        failed(std::string(api_name(call.api)), *target);
        return;
      }
      actual = std::get<DomainError>(answer.error());
    }
    result_.transcript.push_back(
        {TranscriptEntry::Kind::result, std::string(api_name(call.api)), Json(to_text(actual))});
    if (call.expect) {
      std::optional<DomainError> expected = call.expect->error;
      if (expected) expected->message = sim::replace_all(expected->message, "${dir}", directory_);
      compare_answers(expected, actual, "the scenario expects this answer");
    }
    if (prediction.unknown && !actual)
      unjudged_ = *prediction.unknown;  // a refusal changes nothing
    if (prediction.unknown || !unjudged_.empty()) {
      if (!call.expect) broken(std::string(kUnjudged) + prediction.unknown.value_or(unjudged_));
      return;
    }
    std::optional<DomainError> expected;
    if (prediction.refusal)
      expected = DomainError{prediction.refusal->domain, prediction.refusal->code,
                             prediction.refusal->message};
    compare_answers(expected, actual, "libvirt 9.0 gives this answer");
    if (expected.has_value() != actual.has_value()) stopped_ = true;
    if (!stopped_ && answer && *answer) judge_position(call, prediction, **answer);
  }

  void judge_position(const CallStep& call, const model::CallPrediction& prediction,
                      const PullPosition& position) {
    const auto text = [](std::uint64_t cursor, std::uint64_t end, bool drops) {
      return fmt::format("{} of {}{}", cursor, end, drops ? ", drops the link" : "");
    };
    const std::string actual = text(position.cursor, position.end, position.drops_backing);
    result_.transcript.push_back({TranscriptEntry::Kind::note, "position", actual});
    if (!prediction.position) return;
    const std::string wanted = text(prediction.position->cursor, prediction.position->end,
                                    prediction.drops_backing.value_or(position.drops_backing));
    if (wanted == actual) {
      if (call.api == CallStep::Api::pull) model_.on_pulled(call.disk, position.drops_backing);
      return;
    }
    diverge(DivergenceClass::error, "a pull comes to this position", wanted, actual);
    stopped_ = true;
  }

  void compare_answers(const std::optional<DomainError>& expected,
                       const std::optional<DomainError>& actual, const std::string& requirement) {
    if (expected == actual) return;
    const bool only_words =
        expected && actual && expected->domain == actual->domain && expected->code == actual->code;
    diverge(only_words ? DivergenceClass::wording : DivergenceClass::error, requirement,
            to_text(expected), to_text(actual));
  }

  void perform(const QmpStep& step) {
    place_ += ": " + step.command;
    const auto reply = hypervisor_.execute(step.command, here(step.arguments));
    if (!reply) {
      failed(step.command, reply.error());
      return;
    }
    if (step.expect && !has_members(*reply, here(*step.expect)))
      diverge(DivergenceClass::error, "the reply has these members", step.expect->dump(),
              reply->dump());
  }

  Json here(const Json& json) const { return in_directory(json, directory_); }

  std::optional<Guest> guest_of(const std::string& disk) {
    const auto qdev = domain_->qdev(disk);
    if (!qdev) {
      failed("finding the disk's device", qdev.error());
      return std::nullopt;
    }
    return Guest(hypervisor_, *qdev);
  }

  template <class T>
  bool judge_guest(const GuestResult<T>& result, const std::string& doing) {
    if (result) return true;
    if (const auto* target = std::get_if<TargetFailure>(&result.error()))
      return failed(doing, *target);
    diverge(DivergenceClass::data, "the guest's request succeeds", doing,
            std::get<GuestFailure>(result.error()).text);
    stopped_ = true;
    return false;
  }

  void perform(const GuestStep& step) {
    place_ += ": guest I/O";
    std::optional<Guest> guest = guest_of(step.disk);
    if (!guest) return;
    if (step.operation == GuestStep::Operation::read) {
      perform_read(*guest, step);
      return;
    }
    const model::Layer before = model_.active_layer(step.disk);
    const GuestResult<void> done = request(*guest, step);
    if (step.error ? !judge_failure(done, *step.error) : !judge_guest(done, doing(step))) return;
    tell(model_, step);
    if (step.error) model_.guest_failed(step.disk, before);
    if (step.error && model_.has_job(step.disk))
      unjudged_ = "a request failed while a job of the disk was running";
    if (step.operation == GuestStep::Operation::flush)
      flushed(step.disk);
    else
      durable_.at(step.disk).changed(model_.guest_view(step.disk));
  }

  void perform_read(Guest& guest, const GuestStep& step) {
    const auto equal = guest.reads_as(step.offset, step.length, step.pattern);
    if (step.error) {
      if (equal)
        judge_failure({}, *step.error);
      else
        judge_failure(std::unexpected(equal.error()), *step.error);
    } else if (judge_guest(equal, doing(step)) && !*equal) {
      diverge(DivergenceClass::data, "the guest reads this", fmt::format("{:#04x}", step.pattern),
              "something else");
    }
  }

  // A request that the scenario wants to fail.
  bool judge_failure(const GuestResult<void>& result, const std::string& wanted) {
    std::string said = "success";
    if (!result) {
      if (const auto* target = std::get_if<TargetFailure>(&result.error()))
        return failed("a guest's request", *target);
      said = std::get<GuestFailure>(result.error()).text;
      if (said.contains(wanted)) {
        if (faults_to_come_ > 0) --faults_to_come_;
        return true;
      }
    }
    diverge(DivergenceClass::error, "the guest's request fails with this", wanted, said);
    stopped_ = true;
    return false;
  }

  // QEMU's monitor does not say that a flush failed; as long as a fault is to come, it may have.
  void flushed(const std::string& disk) {
    if (faults_to_come_ == 0) durable_.at(disk).flushed(model_.guest_view(disk));
  }

  void perform(const FaultStep& step) {
    place_ += ": fault";
    const bool is_disk =
        std::ranges::find(scenario_.disks, step.on, &Disk::target) != scenario_.disks.end();
    const FileFault fault = to_fault(
        step, is_disk ? model_.chain(step.on).links.front().path : directory_ + "/" + step.on);
    if (auto reason = session_.inject(fault)) {
      result_.skipped = *std::move(reason);
      stopped_ = true;
    }
    faults_to_come_ += step.lasting ? kForEver : 1;
  }

  // What was flushed is there, images are whole but for leaks.  Nothing can follow.
  // Not to be loaded in a scenario with disks.
  void perform(const RestStep& /*step*/) {}

  void perform(const PowerCutStep& /*step*/) {
    place_ += ": power cut";
    if (!drain_events()) return;  // they were sent before the last reply
    stopped_ = true;
    result_.transcript.push_back({TranscriptEntry::Kind::note, "power cut", Json()});
    if (auto cut = session_.cut_power(); !cut) {
      failed("cutting the power", cut.error());
      return;
    }
    if (!unjudged_.empty()) return;
    std::vector<check::FoundDisk> disks;
    for (const Disk& disk : scenario_.disks) {
      const model::ChainExpectation chain = model_.chain(disk.target);
      disks.push_back({disk.target, chain.links.front().path, chain.links.front().format,
                       durable_.at(disk.target).may()});
    }
    add(check::compare_after_cut(session_.files(), model_.files(), disks, passphrases_));
  }

  void perform(const WaitStep& step) {
    place_ += ": wait for " + (step.event.empty() ? step.status : step.event);
    if (step.event.empty())
      wait_for_status(step);
    else
      wait_for_event(step);
  }

  void take(BlockJobEvent event) {
    // One that the model rules out is found where events are compared.
    if (const auto course = model_.course(event.disk);
        event.status == "READY" && course && *course != model::Course::held)
      model_.on_ready(event.disk);
    if (event.status == "COMPLETED" && model_.ends_by_itself(event.disk) &&
        model_.course(event.disk) != model::Course::held)
      model_.on_completed(event.disk);
    result_.transcript.push_back(
        {TranscriptEntry::Kind::note, "BLOCK_JOB", event.type + " " + event.status});
    events_.push_back(std::move(event));
  }

  void wait_for_status(const WaitStep& step) {
    std::string wanted = step.status;
    std::ranges::transform(wanted, wanted.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    // Those of the disk's jobs before do not count.
    const auto already =
        std::any_of(events_.begin() + static_cast<std::ptrdiff_t>(earlier_events_[step.disk]),
                    events_.end(), [&](const BlockJobEvent& event) {
                      return event.disk == step.disk && event.status == wanted;
                    });
    while (!already) {
      auto event = domain_->next_event(kEventLimit);
      if (!event) {
        failed("waiting for an event", event.error());
        return;
      }
      if (!*event) {
        diverge(DivergenceClass::hang, "the event comes", wanted + " of " + step.disk, "nothing");
        stopped_ = true;
        return;
      }
      const bool found = (*event)->disk == step.disk && (*event)->status == wanted;
      const bool ended = (*event)->disk == step.disk && (*event)->status != "READY";
      take(**std::move(event));
      if (found) return;
      if (ended) {  // the job is gone: what is waited for cannot come any more
        diverge(DivergenceClass::events, "the event comes", wanted + " of " + step.disk,
                events_.back().status);
        stopped_ = true;
        return;
      }
    }
  }

  // A QMP event that the domain layer consumed is looked for in the transcript.
  void wait_for_event(const WaitStep& step) {
    std::size_t looked_at = 0;
    const Json data = here(step.data);
    for (;;) {
      for (; looked_at < result_.transcript.size(); ++looked_at) {
        const TranscriptEntry& entry = result_.transcript[looked_at];
        if (entry.kind == TranscriptEntry::Kind::event && entry.name == step.event &&
            (data.is_null() || has_members(entry.content, data)))
          return;
      }
      const auto event = hypervisor_.next_event(kEventLimit);
      if (!event) {
        failed("waiting for an event", event.error());
        return;
      }
      if (!*event) {
        diverge(DivergenceClass::hang, "the event comes", step.event, "nothing");
        stopped_ = true;
        return;
      }
    }
  }

  // --- comparing ---------------------------------------------------------------------------------

  void perform(const CheckStep& step) {
    place_ += ": check";
    check_everything(&step);
    if (!result_.divergences.empty()) stopped_ = true;  // all that follows would follow from it
  }

  bool drain_events() {
    for (;;) {
      auto event = domain_->next_event(milliseconds(0));
      if (!event) return failed("taking events", event.error());
      if (!*event) return true;
      take(**std::move(event));
    }
  }

  void add(std::vector<Divergence> found) {
    for (Divergence& divergence : found) {
      divergence.place = place_ + ", " + divergence.place;
      result_.divergences.push_back(std::move(divergence));
    }
  }

  void check_everything(const CheckStep* stated) {
    if (!drain_events()) return;
    if (!unjudged_.empty()) {
      if (stated != nullptr) check_stated_chain(*stated);
      return;
    }
    for (const Disk& disk : scenario_.disks)
      if (!check_guest(disk.target)) return;
    // Asking the guest has taken a turn: what was sent together with the last event is here now.
    if (!drain_events()) return;
    for (const Disk& disk : scenario_.disks) {
      check_chain(disk.target, stated != nullptr && stated->disk == disk.target ? stated : nullptr);
      for (const auto& [job, statuses] : model_.job_statuses(disk.target))
        add(check::compare_statuses(
            check::statuses_of(result_.transcript, job, options_.switched_off), statuses, job));
    }
    check_snapshots(stated);
    if (leases_)
      for (const Disk& disk : scenario_.disks) add(leases_->compare(disk.target, model_));
    add(check::compare_events(events_, model_.events()));
    add(check::compare_files(session_.files(), model_.files(), before_, passphrases_));
  }

  void check_snapshots(const CheckStep* stated) {
    const auto told = domain_->snapshots();
    if (!told) {
      failed("asking for the snapshots", told.error());
      return;
    }
    const auto line = [](const std::string& name, const std::string& parent, bool current) {
      return fmt::format("{}{}{} ", name, parent.empty() ? "" : "<-" + parent, current ? "*" : "");
    };
    constexpr const char* kRequirement = "the domain has these snapshots (name<-parent, * current)";
    std::string wanted, seen, parents, said, current;
    for (const auto& one : model_.snapshots()) wanted += line(one.name, one.parent, one.current);
    for (const SnapshotInfo& one : *told) {
      seen += line(one.name, one.parent, one.current);
      parents += line(one.name, one.parent, false);
      if (one.current) current = one.name;
    }
    if (wanted != seen) diverge(DivergenceClass::chain, kRequirement, wanted, seen);
    if (stated == nullptr) return;
    if (stated->snapshots) {
      for (const auto& [name, parent] : *stated->snapshots) said += line(name, parent, false);
      if (said != parents) diverge(DivergenceClass::chain, kRequirement, said, parents);
    }
    if (stated->current && *stated->current != current)
      diverge(DivergenceClass::chain, "this snapshot is the current one", *stated->current,
              current);
  }

  bool check_guest(const std::string& disk) {
    std::optional<Guest> guest = guest_of(disk);
    if (!guest || !judge_guest(guest->flush(), "a flush")) return false;
    flushed(disk);
    for (const model::ViewRun& run : model_.guest_view(disk)) {
      const auto pattern = run.pattern();
      if (!pattern) continue;
      const auto equal = guest->reads_as(run.offset, run.length, *pattern);
      if (!judge_guest(equal, "a read")) return false;
      if (*equal) continue;
      diverge(DivergenceClass::data, "the guest reads what it must",
              fmt::format("{:#04x}, {} bytes from byte {}", *pattern, run.length, run.offset),
              "something else: " + first_wrong_byte(disk));
      break;
    }
    return true;
  }

  // Found in the files, where the layer can be told.
  std::string first_wrong_byte(const std::string& disk) {
    const auto chain = domain_->chain(disk);
    if (!chain || chain->links.empty()) return "its chain is not known";
    inspect::Inspector inspector(session_.files(), passphrases_);
    const auto view = inspector.view(chain->links.front().path, chain->links.front().format);
    if (!view) return view.error().desc;
    const auto found = check::compare_views(*view, model_.guest_view(disk), "disk " + disk);
    return found.empty() ? "the files are as they must be, the live view is not"
                         : found.front().actual + " at " + found.front().place;
  }

  void check_chain(const std::string& disk, const CheckStep* stated) {
    const auto actual = domain_->chain(disk);
    if (!actual) {
      failed("asking for the chain", actual.error());
      return;
    }
    const model::ChainExpectation expected = model_.chain(disk);
    std::string wanted, seen;
    for (const auto& link : expected.links) wanted += short_name(link.path, link.format);
    for (const ChainLink& link : actual->links) seen += short_name(link.path, link.format);
    wanted += expected.terminated ? "|" : "...";
    seen += actual->terminated ? "|" : "...";
    if (wanted != seen)
      diverge(DivergenceClass::chain, "the live XML shows this chain (libvirt 9.0)", wanted, seen);
    if (stated != nullptr) check_stated_chain(*stated);
    if (stated != nullptr && stated->guest && *stated->guest != text(model_.guest_view(disk)))
      diverge(DivergenceClass::data, "the scenario states this guest view", *stated->guest,
              text(model_.guest_view(disk)));
  }

  void check_stated_chain(const CheckStep& stated) {
    if (!stated.chain) return;
    const auto actual = domain_->chain(stated.disk);
    if (!actual) {
      failed("asking for the chain", actual.error());
      return;
    }
    std::vector<std::string> names;
    for (const ChainLink& link : actual->links)
      names.push_back(link.path.substr(link.path.rfind('/') + 1));
    if (names != *stated.chain)
      diverge(DivergenceClass::chain, "the scenario states this chain",
              fmt::format("{}", fmt::join(*stated.chain, " ")),
              fmt::format("{}", fmt::join(names, " ")));
  }

  static std::string short_name(const std::string& path, const std::string& format) {
    return path.substr(path.rfind('/') + 1) + ":" + format + " ";
  }

  const Scenario& scenario_;
  Session& session_;
  const ExecutionOptions& options_;
  std::string directory_;
  Executed result_;
  RecordingHypervisor hypervisor_;
  model::DomainModel model_;
  Passphrases passphrases_;
  std::optional<WatchedLeases> leases_;            // nothing: no lock manager
  std::map<std::string, model::Durable> durable_;  // by disk
  unsigned faults_to_come_ = 0;                    // injected and not met yet, as far as is known
  std::unique_ptr<DomainApi> domain_;
  check::Before before_;
  std::vector<BlockJobEvent> events_;
  std::map<std::string, std::size_t> earlier_events_;  // by disk: from before its newest job
  std::string place_ = "start";
  std::string unjudged_;  // why the model does not know what is true any more; empty: it does
  bool stopped_ = false;
};

}  // namespace

Executed execute(const Scenario& scenario, Target& target, const ExecutionOptions& options) {
  if (is_older(target.release(), scenario.since)) {
    Executed skipped;
    skipped.skipped = fmt::format("what it uses is in QEMU since {}", scenario.since);
    return skipped;
  }
  if (scenario.dialect == Dialect::as_proposed && !target.lacks_what_is_proposed().empty()) {
    Executed skipped;
    skipped.skipped = target.lacks_what_is_proposed();
    return skipped;
  }
  if (scenario.is_transcript() && !target.needs_a_domain().empty()) {
    Executed skipped;
    skipped.skipped = target.needs_a_domain();
    return skipped;
  }
  if (scenario.leases && !target.has_no_lock_manager().empty()) {
    Executed skipped;
    skipped.skipped = target.has_no_lock_manager();
    return skipped;
  }
  if (scenario.recipe == CopyRecipe::drive && !target.knows_one_recipe().empty()) {
    Executed skipped;
    skipped.skipped = target.knows_one_recipe();
    return skipped;
  }
  const bool is_encrypted = std::ranges::any_of(
      scenario.images, [](const Image& image) { return !image.passphrase.empty(); });
  if (is_encrypted && !target.has_no_secrets().empty()) {
    Executed skipped;
    skipped.skipped = target.has_no_secrets();
    return skipped;
  }
  SessionOptions how = options.session;
  how.settles = scenario.is_transcript();
  how.hazards = std::ranges::any_of(scenario.steps, [](const Step& step) {
    return std::holds_alternative<FaultStep>(step.action) ||
           std::holds_alternative<PowerCutStep>(step.action);
  });
  auto session = target.open(how);
  if (!session) {
    Executed failed;
    failed.broken = session.error().detail;
    return failed;
  }
  Executed result = scenario.is_transcript() ? record(scenario, **session)
                                             : Execution(scenario, **session, options).run();
  if (!options.keep.empty())
    keep_evidence(options.keep, scenario.id, target.name(), (*session)->files(), result.transcript);
  result.directory = (*session)->files().directory();
  return result;
}

}  // namespace conformance
