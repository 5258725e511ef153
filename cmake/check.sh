#!/usr/bin/env bash
# ./dev check: format, tidy, layers, limits, includes.  Exit 0 only if all are clean.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
failed=0

mapfile -t sources < <(git ls-files '*.cc' '*.h')
echo "format: ${#sources[@]} files"
clang-format-19 --dry-run -Werror "${sources[@]}" || failed=1

echo "layers, limits, includes"
./dev build release >/dev/null || exit 3
build/release/bin/conformance_cli_test --gtest_brief=1 --gtest_filter='Layers*:Limits*' || failed=1

echo "tidy"
mapfile -t units < <(git ls-files '*.cc')
printf '%s\n' "${units[@]}" |
  xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build/release --quiet 2>/dev/null || failed=1

[ $failed -eq 0 ] && echo "check: clean"
exit $failed
