#include "real-qemu/qemu_target.h"

#include <utility>

#include "real-qemu/posix_files.h"
#include "real-qemu/recycle.h"

namespace real_qemu {
namespace {

using std::chrono::milliseconds;

std::unexpected<TargetFailure> harness_failure(std::string detail) {
  return std::unexpected(
      TargetFailure{.kind = TargetFailure::Kind::harness, .detail = std::move(detail)});
}

// "7.2.22 (Debian 1:7.2+dfsg-7)" from the greeting's version.
std::string version_text(const Json& greeting) {
  const Json version = greeting.value("version", Json::object());
  const Json numbers = version.value("qemu", Json::object());
  std::string text = std::to_string(numbers.value("major", 0)) + "." +
                     std::to_string(numbers.value("minor", 0)) + "." +
                     std::to_string(numbers.value("micro", 0));
  if (const auto package = version.value("package", ""); !package.empty())
    text += " (" + package + ")";
  return text;
}

}  // namespace

// A Process as one session sees it, noting whether its effects can be undone.
class QemuTarget::QemuSession final : public conformance::Session, conformance::Hypervisor {
 public:
  QemuSession(QemuTarget& target, PrivateDirectory directory)
      : target_(target), directory_(std::move(directory)), files_(directory_.path()) {}
  ~QemuSession() override { target_.finish(reusable_); }

  conformance::Hypervisor& hypervisor() override { return *this; }
  conformance::Files& files() override { return files_; }
  std::optional<std::string> inject(const conformance::FileFault& /*fault*/) override {
    return "a real QEMU fails requests only on nodes that were opened with blkdebug";
  }
  bool is_at_work() const override { return target_.process_->is_at_work(); }
  Outcome<void> restart() override {
    reusable_ = false;
    (void)target_.process_->quit();  // it is killed with the session if it does not
    ended_.push_back(std::move(target_.process_));
    return target_.start();
  }
  Outcome<void> end() override {
    reusable_ = false;
    return target_.process_->quit();
  }
  Outcome<void> cut_power() override {
    reusable_ = false;
    target_.process_->kill();
    return {};
  }

 private:
  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    if (!can_be_undone(command, arguments)) reusable_ = false;
    return target_.process_->execute(command, arguments);
  }
  Outcome<std::optional<Event>> poll_event() override { return target_.process_->poll_event(); }
  Outcome<std::optional<Event>> next_event(milliseconds limit) override {
    return target_.process_->next_event(limit);
  }

  QemuTarget& target_;
  std::vector<std::unique_ptr<Process>> ended_;  // the files are below the first one's directory
  PrivateDirectory directory_;                   // removed after QEMU has let go of what is in it
  PosixFiles files_;
  bool reusable_ = true;
};

QemuTarget::QemuTarget(std::string spec, std::string program, QemuOptions options)
    : name_(std::move(spec)), program_(std::move(program)), options_(std::move(options)) {}

QemuTarget::~QemuTarget() = default;

std::expected<std::unique_ptr<QemuTarget>, TargetFailure> QemuTarget::find(std::string spec,
                                                                           QemuOptions options) {
  auto place = locate(spec, options.places);
  if (!place) return harness_failure(place.error());
  std::unique_ptr<QemuTarget> target(
      new QemuTarget(std::move(spec), std::move(place->program), std::move(options)));
  if (auto started = target->start(); !started) return std::unexpected(started.error());
  target->version_ = version_text(target->process_->greeting());
  target->release_ = release_of(target->version_);
  return target;
}

Outcome<void> QemuTarget::start() {
  auto process = Process::start(
      {.program = program_, .place = options_.scratch, .arguments = {}, .limits = options_.limits});
  if (!process) return std::unexpected(process.error());
  process_ = std::move(*process);
  sessions_of_process_ = 0;
  ++starts_;
  return {};
}

Outcome<std::unique_ptr<conformance::Session>> QemuTarget::open(
    const conformance::SessionOptions& /*options*/) {
  if (in_session_) return harness_failure("the target's last session has not ended");
  if (!process_)
    if (auto started = start(); !started) return std::unexpected(started.error());
  auto directory =
      PrivateDirectory::make_at(process_->directory() + "/" + std::to_string(++sessions_));
  if (!directory) return harness_failure(directory.error());
  in_session_ = true;
  ++sessions_of_process_;
  return std::make_unique<QemuSession>(*this, std::move(*directory));
}

void QemuTarget::finish(bool reusable) {
  in_session_ = false;
  if (reusable && process_->usable() && sessions_of_process_ < options_.sessions_per_process &&
      recycle(*process_, options_.limits.end)) {
    process_->drop_events();
    process_->forget_output();
    return;
  }
  process_.reset();
}

std::string exact_version(std::string_view version) {
  return std::string(version.substr(0, version.find(' ')));
}

}  // namespace real_qemu
