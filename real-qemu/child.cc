#include "real-qemu/child.h"

#define BOOST_PROCESS_USE_STD_FS
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/process.hpp>
#include <boost/process/extend.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "real-qemu/descriptor.h"

namespace real_qemu {
namespace {

namespace bp = boost::process;
using Clock = std::chrono::steady_clock;

// Between fork and exec: nothing but system calls.
void set_up(pid_t parent, int inherited) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  // Whatever else the harness has open stays with the harness.
  ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  if (inherited >= 0) ::fcntl(inherited, F_SETFD, 0);
}

}  // namespace

struct Child::State {
  bp::child child;
  Descriptor pid_fd;  // readable once the process has ended; none on kernels before 5.3
};

Child::Child(std::unique_ptr<State> state) : state_(std::move(state)) {}
Child::Child(Child&&) noexcept = default;
Child& Child::operator=(Child&&) noexcept = default;

std::expected<Child, std::string> Child::start(const ChildOptions& options) {
  const pid_t self = ::getpid();
  const int inherited = options.inherited;
  std::error_code error;
  bp::child child(
      bp::exe = options.program, bp::args = options.arguments, bp::start_dir = options.directory,
      bp::std_in < bp::null, bp::posix::fd.bind(1, options.output),
      bp::posix::fd.bind(2, options.errors),
      bp::extend::on_exec_setup = [self, inherited](auto&) { set_up(self, inherited); }, error);
  if (error) return std::unexpected(error.message());
  const int pid_fd = static_cast<int>(::syscall(SYS_pidfd_open, child.id(), 0U));
  return Child(std::make_unique<State>(std::move(child), Descriptor(pid_fd)));
}

Child::~Child() {
  if (state_) kill();
}

int Child::pid() const { return state_->child.id(); }

bool Child::is_at_work() const {
  namespace fs = std::filesystem;
  const std::string own = std::to_string(pid());
  std::error_code ended;  // a thread may end while we look: it works no more
  for (fs::directory_iterator it("/proc/" + own + "/task", ended), end; !ended && it != end;
       it.increment(ended)) {
    if (it->path().filename() == own) continue;
    std::ifstream stat(it->path() / "stat");
    const std::string line(std::istreambuf_iterator<char>(stat), {});
    // "TID (NAME) STATE …", and the name may hold anything.
    const auto name_end = line.rfind(") ");
    if (name_end == std::string::npos || name_end + 2 >= line.size()) continue;
    const char state = line[name_end + 2];
    if (state == 'R' || state == 'D') return true;
  }
  return false;
}

bool Child::ended_within(std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (true) {
    std::error_code ignored;
    if (!state_->child.running(ignored)) return true;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd fd = {.fd = state_->pid_fd.get(), .events = POLLIN, .revents = 0};
    // Without a pid_fd poll only waits, and we look again every 2 ms.
    ::poll(&fd, 1, state_->pid_fd ? static_cast<int>(std::min<long long>(left, 1 << 20)) : 2);
  }
}

void Child::kill() {
  std::error_code ignored;
  if (state_->child.running(ignored)) state_->child.terminate(ignored);
}

std::string Child::how_it_is() {
  std::error_code ignored;
  if (state_->child.running(ignored)) return "is running";
  const int status = state_->child.native_exit_code();
  if (WIFSIGNALED(status))
    return "was ended by signal " + std::to_string(WTERMSIG(status)) + " (" +
           ::strsignal(WTERMSIG(status)) + ")";
  return "exited with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace real_qemu
