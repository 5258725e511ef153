#!/usr/bin/env bash
# Installs real QEMU releases side by side below build/qemu/VERSION/, each with its own libraries,
# firmware and modules, from the distribution's own suites.  Needs no root and changes nothing
# outside that folder: apt runs on a private state, and nothing is installed, only unpacked.
# The mirror is the one this machine's apt is configured for.
#
# bin/ holds one wrapper per program, which starts it under the release's own dynamic linker; the
# folder may be moved.  .package names the exact package.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: ./dev qemu VERSION… | all
Installs real QEMU releases below build/qemu/VERSION/bin/: 5.2, 7.2, 10.0, 11.1.
TEXT
}

fail() {
  echo "qemu: $*" >&2
  exit 3
}

# The suites that hold a release: where QEMU is taken from, then the others it may need.
suites_of() {
  case $1 in
    5.2) echo bullseye bullseye-security ;;
    7.2) echo bookworm bookworm-security ;;
    10.0) echo trixie trixie-security ;;
    11.1) echo trixie-backports trixie trixie-security ;;
    *) return 1 ;;
  esac
}

programs=(qemu-system-x86_64 qemu-img qemu-io qemu-nbd qemu-storage-daemon)
packages=(qemu-system-x86 qemu-utils)
# Every module of the release has to be there: for one that is not, QEMU looks in the system's
# folder, finds another release's, and from 10.0 on aborts.  These are taken without what they need
# in turn (a desktop's worth); such a module is then passed over with a message.
module_packages=(qemu-block-extra qemu-system-gui qemu-system-modules-spice
  qemu-system-modules-opengl)
triplet=x86_64-linux-gnu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where the machine's apt gets a suite of its own distribution from: "main" or "security".
mirror() {
  local codename suite
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  suite=$codename
  [[ $1 == security ]] && suite=$codename-security
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
    'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite && $3 == "main" && ($4 == "Debian" || $4 == "") {
      print $1; exit }'
}

# A private apt in folder $1 for the suites $2….
configure_apt() {
  local work=$1 suite kind uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  shift
  [[ -r $keyring ]] ||
    fail "there is no $keyring; install it: apt-get install debian-archive-keyring"
  mkdir -p "$work"/{none,state/lists/partial,cache/archives/partial,log}
  : >"$work/status"
  : >"$work/sources.list"
  for suite; do
    kind=main
    [[ $suite == *-security ]] && kind=security
    uri=$(mirror $kind)
    if [[ -z $uri && $kind == main ]]; then
      fail "this machine's apt has no source for its own distribution; see /etc/apt/sources.list"
    fi
    [[ -z $uri ]] || echo "deb [signed-by=$keyring] $uri $suite main" >>"$work/sources.list"
  done
  # How to reach the mirror stays as the machine has it (proxies, certificates); hooks do not.
  {
    apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|ForceIPv[46]|Check-)' || true
    cat <<TEXT
Dir::Etc::parts "$work/none";
Dir::Etc::main "$work/none.conf";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/none";
Dir::Etc::preferences "$work/none.conf";
Dir::Etc::preferencesparts "$work/none";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Log "$work/log";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
TEXT
    # Such a suite gives only what it is asked for by name.
    [[ $1 != *-backports ]] || echo "APT::Default-Release \"$1\";"
  } >"$work/apt.conf"
}

# Runs a command; shows what it said only if it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 && return
  tail -n 15 "$log" >&2
  return 1
}

# Downloads QEMU from suite $2 with all that it needs, by the apt in $1, and unpacks it to $1/full.
fetch() {
  local work=$1 suite=$2 extra=() package deb
  export APT_CONFIG=$work/apt.conf
  quietly "$work/log/update" apt-get update ||
    fail "cannot read the index of $suite; is there a network?"
  quietly "$work/log/download" apt-get --yes --download-only install "${packages[@]}" ||
    fail "cannot download QEMU from $suite"
  for package in "${module_packages[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then extra+=("$package"); fi
  done
  (cd "$work/cache/archives" && quietly "$work/log/modules" apt-get download "${extra[@]}") ||
    fail "cannot download QEMU's modules from $suite"
  mkdir "$work/full"
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$work/full"; done
  apt-cache policy qemu-system-x86 | awk '/Candidate:/ { print "qemu-system-x86", $2 }' \
    >"$work/package"
  unset APT_CONFIG
}

# The first file of the unpacked release $1 with the name $2 that is a shared library.
library() {
  find "$1" -name "$2" ! -path "*/$triplet/qemu/*" ! -path '*/share/*' -print -quit
}

# Copies what a program needs at run time from $1 (unpacked) to $2 (the release).
select_files() {
  local full=$1 release=$2 program file name loader path found
  mkdir -p "$release"/{bin,libexec,lib,modules,firmware}
  for program in "${programs[@]}"; do
    file=$full/usr/bin/$program
    if [[ -e $file ]]; then cp -L "$file" "$release/libexec/"; fi
  done
  [[ -e $release/libexec/qemu-system-x86_64 ]] || fail "the package holds no qemu-system-x86_64"
  if [[ -d $full/usr/lib/$triplet/qemu ]]; then
    find "$full/usr/lib/$triplet/qemu" -name '*.so' -exec cp {} "$release/modules/" \;
  fi
  loader=$(library "$full" ld-linux-x86-64.so.2)
  [[ -n $loader ]] || fail "the package holds no dynamic linker"
  cp -L "$loader" "$release/lib/ld.so"

  # Every folder of libraries in the unpacked release, and every file by its name alone.
  path=$(find "$full" -name '*.so*' ! -path "*/$triplet/qemu/*" ! -path '*/share/*' -printf '%h\n' |
    sort -u | paste -s -d :)
  for file in "$release"/libexec/* "$release"/modules/*.so; do
    "$release/lib/ld.so" --library-path "$path" --list "$file" 2>/dev/null || true
  done | awk '$2 == "=>" && $3 != "not" { print $1 } ' | sort -u >"$release/.libraries"
  # Name services are loaded by name; without them "localhost" means nothing.
  printf '%s\n' libnss_files.so.2 libnss_dns.so.2 libresolv.so.2 >>"$release/.libraries"
  while read -r name; do
    found=$(library "$full" "$name")
    [[ -z $found ]] || cp -L "$found" "$release/lib/$name"
  done <"$release/.libraries"
  rm "$release/.libraries"
  for file in "$full"/usr/share/{seabios,qemu} "$full"/usr/lib/ipxe/qemu; do
    if [[ -d $file ]]; then
      find "$file" -maxdepth 1 -type f -size -4M \( -name '*.bin' -o -name '*.rom' \) \
        -exec cp {} "$release/firmware/" \;
    fi
  done
  if [[ -d $full/usr/share/qemu/keymaps ]]; then
    cp -r "$full/usr/share/qemu/keymaps" "$release/firmware/"
  fi
}

write_wrappers() {
  local release=$1 file name more
  for file in "$release"/libexec/*; do
    name=$(basename "$file")
    more=
    [[ $name == qemu-system-* ]] && more='-L "$here/firmware" '
    cat >"$release/bin/$name" <<TEXT
#!/bin/sh
self=\$0
while [ -L "\$self" ]; do
  link=\$(readlink "\$self")
  case \$link in
    /*) self=\$link ;;
    *) self=\${self%/*}/\$link ;;
  esac
done
here=\${self%/*}/..
QEMU_MODULE_DIR="\$here/modules"
export QEMU_MODULE_DIR
exec "\$here/lib/ld.so" --library-path "\$here/lib" "\$here/libexec/$name" $more"\$@"
TEXT
    chmod +x "$release/bin/$name"
  done
}

install_release() {
  local version=$1 release=$root/build/qemu/$1 new=$root/build/qemu/.new-$1 suites said
  if said=$("$release/bin/qemu-system-x86_64" --version 2>/dev/null); then
    echo "qemu $version: already there: ${said%%$'\n'*}"
    return
  fi
  read -r -a suites <<<"$(suites_of "$version")"
  echo "qemu $version: from ${suites[0]} …"
  rm -rf "$new"
  mkdir -p "$new/work" "$new/release"
  # shellcheck disable=SC2064 # now: it is a local name
  trap "rm -rf '$new'" EXIT
  configure_apt "$new/work" "${suites[@]}"
  fetch "$new/work" "${suites[0]}"
  select_files "$new/work/full" "$new/release"
  write_wrappers "$new/release"
  mv "$new/work/package" "$new/release/.package"
  said=$("$new/release/bin/qemu-system-x86_64" --version) || fail "QEMU $version does not run here"
  case $said in
    *" version $version."*) ;;
    *) fail "${suites[0]} holds another release than $version: ${said%%$'\n'*}" ;;
  esac
  rm -rf "$release"
  mv "$new/release" "$release"
  rm -rf "$new"
  trap - EXIT
  echo "qemu $version: ${said%%$'\n'*} in build/qemu/$version"
}

main() {
  local version versions=()
  case ${1-} in
    -h | --help)
      usage
      return 0
      ;;
    '')
      usage >&2
      return 2
      ;;
    all) versions=(5.2 7.2 10.0 11.1) ;;
    *) versions=("$@") ;;
  esac
  for version in "${versions[@]}"; do
    if ! suites_of "$version" >/dev/null; then
      echo "qemu: there is no release $version here" >&2
      usage >&2
      return 2
    fi
  done
  [[ $(uname -m) == x86_64 ]] || fail "the releases are for x86_64 only"
  for version in apt-get dpkg-deb; do
    command -v "$version" >/dev/null || fail "$version is missing: only Debian and its kin have it"
  done
  for version in "${versions[@]}"; do install_release "$version"; done
}

main "$@"
