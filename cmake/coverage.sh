#!/usr/bin/env bash
# ./dev coverage [ROOM]: lines and branches of a room's code that its tests, and those of the rooms
# that work with images, run.  Prints a row for each file and the sums.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
room=${1:-sim/qcow2}
[ -d "$room" ] || {
  echo "dev: no room '$room'" >&2
  exit 2
}

programs=(sim_storage_test sim_crypto_test sim_qcow2_test sim_image_test sim_tool_test)
mapfile -t fuzzers < <(cd "$room" && ls ./*_fuzz.cc 2>/dev/null | sed 's|^\./||; s|\.cc$||')
cmake --preset coverage >/dev/null
for fuzzer in "${fuzzers[@]}"; do programs+=("${room//\//_}_$fuzzer"); done
mapfile -t known < <(ninja -C build/coverage -t targets all | sed -n 's|^bin/\([^:]*\):.*|\1|p')
present=()
for program in "${programs[@]}"; do
  printf '%s\n' "${known[@]}" | grep -qx "$program" && present+=("$program")
done
ninja -C build/coverage "${present[@]}" >/dev/null

profiles=build/coverage/profiles
rm -rf "$profiles"
mkdir -p "$profiles"
objects=()
for program in "${present[@]}"; do
  arguments=()
  [[ $program == *_fuzz ]] && arguments=("$room/${program#"${room//\//_}"_}_corpus")
  LLVM_PROFILE_FILE="$profiles/$program.profraw" \
    "build/coverage/bin/$program" "${arguments[@]}" >"$profiles/$program.log" 2>&1 || {
    tail -20 "$profiles/$program.log" >&2
    exit 1
  }
  # The first is an argument of its own.
  [ ${#objects[@]} -gt 0 ] && objects+=(-object)
  objects+=("build/coverage/bin/$program")
done
llvm-profdata-19 merge -sparse "$profiles"/*.profraw -o "$profiles/all.profdata"
llvm-cov-19 report "${objects[@]}" -instr-profile "$profiles/all.profdata" \
  -show-region-summary=0 -show-branch-summary \
  -ignore-filename-regex '(_test|_fuzz)\.cc$|(qemu|request)_tools|_for_test|fuzz_replay' "$room"
