#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test that this machine can run. Asks nothing.
#
#   ./test.sh              all tests
#   ./test.sh -R Golden    arguments go to ctest
#
# Without nvcc: the CPU build. With nvcc and no GPU: the CUDA build is compiled and linked as well. With a GPU: its tests run.
set -euo pipefail
cd "$(dirname "$0")"
source cluster/setup.sh

# run_tests PRESET [ctest arguments]: ctest, then what was skipped and why, then ctest's own last lines.
run_tests() {
  local preset=$1 log status=0
  log=build/$preset/ctest.log
  shift
  say "testing (preset $preset)"
  # Two threads a test also runs the parallel loops; passive waiting keeps tests beside each other from spinning.
  OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive \
    ctest --test-dir "build/$preset" -j "$(nproc)" --output-on-failure "$@" >"$log" 2>&1 || status=$?
  # Passed tests are counted, everything else is shown.
  grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .*(Passed|\*\*\*Skipped))' "$log" |
    sed '/^The following tests did not run:/,$d' || true
  local skipped
  skipped=$(grep -E '\*\*\*Skipped|\(Skipped\)' "$log" | sed -nE 's/.*Test +#[0-9]+: ([^ ]+) .*/\1/p' || true)
  if [[ -n $skipped ]]; then
    # The cases of one parameterised test share a line.
    say "skipped here: $(wc -l <<<"$skipped") tests"
    sed -E 's|^([^/]*/[^/]*)/.*|\1|' <<<"$skipped" | sort | uniq -c | awk '{printf "  %s%s\n", $2, $1 > 1 ? " (" $1 " cases)" : ""}'
  fi
  say "result (preset $preset; the whole log is in $log)"
  grep -E 'tests passed,|^Total Test time|No tests were found' "$log" || true
  return $status
}

install_packages
status=0
lack=$(cuda_lacks)
have_nvcc || true

build cpu
if [[ -z $lack ]]; then
  if have_gpu; then
    build cuda
    run_tests cuda -L cuda "$@" || status=$?
  else
    build ci-cuda
    say "the CUDA build compiles and links; its tests need a GPU"
  fi
else
  say "skipped here: the CUDA build ($lack)"
fi
run_tests cpu "$@" || status=$?
exit $status
