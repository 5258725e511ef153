#include "sim/machine/about.h"

namespace sim::machine {

std::string about_text() {
  return "understudy-qemu " UNDERSTUDY_VERSION R"(: a fake QEMU for what disk images go through

It runs no guest.  It answers QMP, runs block jobs, and reads and writes real image files, as the
QEMU release does that it is told to be.

Its own settings, by -understudy KEY=VALUE,... or the environment UNDERSTUDY_OPTIONS:
  profile=5.2|7.2|10.0|11.1  the release, 7.2 unless told otherwise
  seed=N                     of everything that is drawn
  clock=wall|virtual         virtual: waits cost nothing, and timestamps begin at 0
  trace=FILE                 every line that monitors read and write

Simulated:
  -qmp -qmp-pretty -mon -chardev (socket, stdio, null) -blockdev -device -object -compat
  -S -daemonize -pidfile -version, -drive (if=none, if=virtio)

Taken, but nothing comes of it:
  -machine -M (none, pc, q35 and their versions, with any properties) -accel -enable-kvm -cpu -m
  -smp -name -uuid -msg -nodefaults -no-user-config -nographic -display none
  of -chardev socket: mux, logfile, logappend, abstract, tight

Refused by name, not in this version:
  -drive of other buses and file names, -incoming -loadvm -snapshot -qtest, monitors for people
  (-monitor), other displays and chardevs, TCP

Commands that are not in this version are refused by name as well: docs/qmp-coverage.md.
)";
}

}  // namespace sim::machine
