// Which releases of QEMU this machine has.

#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace real_qemu {

// Where to look.
struct Places {
  std::string root = ".";  // releases are in ROOT/build/qemu/VERSION/bin
  std::string path;        // as $PATH; empty: $PATH itself
};

struct Installed {
  std::string spec;     // as for --target: "qemu", "qemu:5.2"
  std::string program;  // absolute path
};

// The program that a spec names: "qemu" the one in the path, "qemu:VERSION" an installed release
// ("10.0" also finds a directory "10.0.13"), else the one in the path if it is of that version,
// "qemu:/PATH" that file.  The error is a sentence with
// its cure.
std::expected<Installed, std::string> locate(const std::string& spec, const Places& places);

// Everything there is: the path's first, then the installed ones by version.  The system's and an
// installed one may be the same release; their versions tell.
std::vector<Installed> installed(const Places& places);

// What a program says it is when it is started with --version: "7.2.22 (Debian 1:7.2+dfsg-7)";
// empty if it says nothing of the kind.
std::string announced_version(const std::string& program);

// The release whose behaviour is expected of a version, of those we have profiles for: the newest
// that is not newer, or else the oldest.  "10.0.13" is "10.0", "8.2.1" is "7.2".
std::string release_of(std::string_view version);

}  // namespace real_qemu
