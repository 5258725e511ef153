// libvirt's last error by the names that its headers give it.

#pragma once

#include <string>

namespace real_libvirt {

struct NamedError {
  std::string domain;   // VIR_FROM_…: "QEMU"
  std::string code;     // VIR_ERR_…: "INVALID_ARG"
  std::string message;  // without the text of its code, "invalid argument: "
};

// Of this thread's last call that failed.  A number that libvirt 9.0's headers do not name is given
// as a number.  libvirt composes its message of the text of the code, which is its str1 with a
// place for the rest, and that rest, str2 (virRaiseErrorFull's callers in virerror.c, observed).
NamedError last_error();

}  // namespace real_libvirt
