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
  # What failed, with its output; then what was skipped; then ctest's own summary.
  sed '/ tests passed, /,$d' "$log" | grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .*(Passed|\*\*\*Skipped))' || true
  local skipped
  skipped=$(sed -nE 's/^.*Test +#[0-9]+: ([^ ]+) .*\*\*\*Skipped.*/\1/p' "$log")
  if [[ -n $skipped ]]; then
    say "skipped here (preset $preset): $(wc -l <<<"$skipped") tests"
    # The cases of one parameterised test share a line.
    sed -E 's|^([^/]*/[^/]*)/.*|\1|' <<<"$skipped" | sort | uniq -c |
      awk '{ cases = $1 > 1 ? " (" $1 " cases)" : ""; print "  " $2 cases }'
  fi
  say "result (preset $preset; the whole log is in $log)"
  sed -n '/ tests passed, /,$p' "$log" | sed '/^The following tests did not run:/,/^$/d'
  return $status
}

# A browser for the tests of the viewer's page. Ubuntu's is a snap, which cannot read their files: there they are skipped.
if [[ $(. /etc/os-release 2>/dev/null && echo "${ID:-}") == debian ]]; then packages+=(chromium); fi
# The job scripts are tested under a Slurm of the test's own (tests/cluster/slurm.sh); its daemons, not configured, do nothing.
packages+=(slurm-wlm munge)
# What mfl_infer leaves is opened by programs that share no code with it (tests/train/read_outputs.py).
packages+=(python3 ffmpeg)
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
