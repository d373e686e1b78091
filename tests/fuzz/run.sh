#!/usr/bin/env bash
# Fuzzes one target for so many CPU minutes, whatever else the machine does, from its corpus and what earlier runs found:
#   tests/fuzz/run.sh packed_file 10 [build/fuzz] [libFuzzer options]
# Ends at the first crash; prints executions and CPU seconds.
set -euo pipefail
target=$1 minutes=$2 build=${3:-build/fuzz}
shift $(($# < 3 ? $# : 3))
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$build/found/$target"
seeds=("$root/tests/fuzz/corpus/$target")
[[ $target =~ ^(pickle|new_cam)$ ]] && seeds+=("$root/tests/golden/new_cam")
[[ $target = mat_file ]] && seeds+=("$root/tests/golden/mat")
[[ $target = torch_file ]] && seeds+=("$root/tests/golden/torch")
# Of what these libraries leak when they give a file up, there is no end; they are not ours.
[[ $target =~ ^(packed_file|video)$ ]] && export ASAN_OPTIONS=detect_leaks=0
cpu() { awk '{printf "%d", ($16 + $17) / 100}' "/proc/$$/stat"; }  # of ended children, seconds
executions=0
while (($(cpu) < 60 * minutes)); do
  log=$build/$target.log
  "$build/fuzz_$target" -max_total_time=60 -timeout=20 -print_final_stats=1 -artifact_prefix="$build/found/$target-" "$@" \
    "$build/found/$target" "${seeds[@]}" &> "$log" || { tail -40 "$log"; exit 1; }
  executions=$((executions + $(sed -n 's/^stat::number_of_executed_units: //p' "$log")))
done
echo "$target: $executions executions in $(cpu) CPU s, none crashed"
