#!/usr/bin/env bash
# compute-sanitizer over a whole step of both models and over every kernel's parity test, at tiny sizes:
#   tests/sanitize.sh BUILD memcheck|initcheck|racecheck|synccheck [steps|kernels]
# Every block of memory is an allocation of its own (MFL_GUARD, runtime/arena.h), so that a neighbour's memory is not taken for one's
# own. racecheck looks at our kernels only, and at MVDiffusion in f32: it cannot follow the attention kernels for Hopper, of which memcheck
# finds nothing (its "Internal Sanitizer Error: failed to handle a hardware exception", CUDA 13.0).
# Exit code 0: nothing found; 77: no GPU or no compute-sanitizer here.
set -euo pipefail
build=$(cd "$1" && pwd) tool=$2 part=${3:-steps}
root=$(cd "$(dirname "$0")/.." && pwd)
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
[[ -x $sanitizer ]] && nvidia-smi -L 2>/dev/null | grep -q '^GPU' || { echo "[  SKIPPED ] no GPU or no compute-sanitizer"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export MFL_GUARD=1 OMP_NUM_THREADS=2
options=(--tool "$tool" --error-exitcode 9 --print-limit 20)
[[ $tool != racecheck ]] || options+=(--kernel-name regex=mfl)
# The slow tools see one pass without validation; the others two, a checkpoint, a validation and its pictures.
gslrm=(--set training.schedule.max_fwdbwd_passes=2)
[[ $tool != racecheck && $tool != initcheck ]] || gslrm=(--set training.schedule.max_fwdbwd_passes=1 --set validation.enabled=false --set training.logging.vis_every=0)
mvdiffusion=(--set max_train_steps=2)
[[ $tool != racecheck ]] || mvdiffusion=(--set max_train_steps=1 --set mixed_precision=no)
[[ $tool != racecheck ]] || options+=(--racecheck-report analysis)
watched() {
  local log=$1
  shift
  "$sanitizer" "${options[@]}" "$@" >"$log" 2>&1 || { grep -E '^=========' "$log" | head -60; tail -5 "$log"; echo "$tool found something in $log: $*"; return 1; }
  grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sed "s|^=* *|$tool, $log: |"
}

case $part in
  kernels)
    for shard in 0 1 2 3; do
      GTEST_TOTAL_SHARDS=4 GTEST_SHARD_INDEX=$shard watched "kernels.$shard" "$build/tests/test_kernels" --gtest_filter='*CudaMatchesTheOracle*' &
    done
    for job in $(jobs -p); do wait "$job"; done ;;
  steps)
    "$build/mfl_data" scenes -o s.h5 --samples 4 --views 7 --image_size 32 --seed 5 >/dev/null
    watched gslrm "$build/mfl_train" "$root/configs/tiny.yaml" --device cuda --output g --set mfl.data.train=s.h5 --set mfl.data.val=s.h5 \
      --set mfl.render.video=false --set validation.output_dir=v "${gslrm[@]}"
    "$build/mfl_convert" tiny-pipeline -o p --image_size 16 --widths 32 >/dev/null
    "$build/mfl_data" scenes -o m.h5 --samples 4 --views 6 --image_size 16 --seed 5 >/dev/null
    watched mvdiffusion "$build/mfl_train" "$root/configs/mouse_mvdiffusion.yaml" --device cuda --output m --set img_wh=16 \
      --set pretrained_model_name_or_path=p --set prompt_embed_path=p/prompt_embeds/clr_embeds.pt --set mfl.data.train=m.h5 \
      --set train_batch_size=1 --set gradient_accumulation_steps=1 --set validation_steps=0 "${mvdiffusion[@]}" ;;
  *) echo "steps or kernels, not $part" >&2; exit 2 ;;
esac
