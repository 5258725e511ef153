// understudy-libvirt FD ROOT: libvirt's client as a process of its own, which the target of the
// same room starts and talks to over the socket FD (channel.h); ROOT is where it may write.  It is
// linked with libvirt, which the harness itself is not; libvirt may hang or crash here.
//
// Two processes: this one takes in what becomes an orphan, so that an ended QEMU is seen as ended
// at once; the other one is the client.  When that is no more, what it left running is killed.

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "real-libvirt/client/channel.h"
#include "real-libvirt/client/requests.h"

namespace {

void kill_children() {
  const std::string self = std::to_string(::getpid());
  std::ifstream children("/proc/" + self + "/task/" + self + "/children");
  for (pid_t child = 0; children >> child;) ::kill(child, SIGKILL);
}

// libvirt asks all emulators in the path for their capabilities: there are none.  It writes what
// passes through each monitor into a file.
void set_environment(const std::string& root) {
  ::setenv("PATH", (root + "/empty").c_str(), 1);
  ::setenv("LIBVIRT_LOG_OUTPUTS", ("1:file:" + root + "/monitor.log").c_str(), 1);
  ::setenv("LIBVIRT_LOG_FILTERS", "2:qemu.qemu_monitor", 1);
  ::unsetenv("LIBVIRT_DEBUG");
}

// Until no child is left.
int take_in_orphans(pid_t client) {
  int result = 1;
  while (true) {
    int status = 0;
    const pid_t ended = ::wait(&status);
    if (ended < 0) return result;
    if (ended == client) result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (ended == client || result != 1) kill_children();
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int socket = count == 3 ? ::atoi(arguments[1]) : -1;
  if (socket < 3) {
    std::fputs("usage: understudy-libvirt FD ROOT; `understudy run --target libvirt` starts it\n",
               stderr);
    return 2;
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t client = ::fork();
  if (client < 0) return 1;
  if (client == 0) {
    real_libvirt::Channel channel{real_qemu::Descriptor(socket)};
    const std::string root = arguments[2];
    set_environment(root);
    real_libvirt::serve(channel, root);
    std::fflush(nullptr);
    ::_exit(0);  // libvirt's threads are not asked
  }
  ::close(socket);
  return take_in_orphans(client);
}
