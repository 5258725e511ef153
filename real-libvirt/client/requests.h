// What the target asks of the client.

#pragma once

#include <string>

#include "real-libvirt/client/channel.h"

namespace real_libvirt {

// Greets, with libvirt's version, and answers requests until the target closes its end or says
// `quit`; then ends the domain.  Requests, with their arguments:
//
//   open                               {}; opens the embedded driver in `root`
//   start {domain, emulator, console, pid-file, persistent, disks: [{target, path, format}]}
//   destroy                            {}
//   blockRebase … blockJobSetSpeed     {}; arguments as the API names them, base and top may be
//   null monitor {command}                  the reply, whole disk {disk} {alias, terminated, links:
//   [{path, format}], mirror} settle                             {}; all of libvirt's events were
//   sent before
//
// An error is libvirt's: {domain, code, message}.  Every answer comes after the events that libvirt
// had queued before its call returned.
void serve(Channel& channel, const std::string& root);

}  // namespace real_libvirt
