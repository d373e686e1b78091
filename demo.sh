#!/usr/bin/env bash
# From a fresh machine to a reconstructed mouse in minutes: installs what is missing, builds, makes a six-camera recording of a
# procedural mouse, turns it into verified samples, trains tiny models of both stages on them, reconstructs the mouse at moments that
# they were not shown, and prints where to look. Uses a GPU when there is one. Asks nothing.
set -euo pipefail
cd "$(dirname "$0")"
source cluster/setup.sh

out=demo_output
started=$SECONDS

install_packages
lack=$(cuda_lacks)
if have_gpu && [[ -z $lack ]]; then
  have_nvcc
  preset=cuda device=cuda
else
  preset=cpu device=cpu
  if have_gpu; then say "this machine has a GPU, but the demo runs on the CPU: $lack"; fi
fi
build "$preset" mfl_data_program mfl_train_program mfl_convert mfl_infer

cluster/demo_steps.sh "build/$preset" "$out" "$device"

say "done in $((SECONDS - started)) s"
# Of views that the model was not given, of a time that it was not trained on, from the run's own log.
sed -nE 's/.*"event": *"validation".*"psnr_held_out": *([0-9.]+).*/\1/p' "$out/run/log.jsonl" |
  awk 'NR == 1 { first = $1 } { last = $1 } END { if (NR) printf "held-out PSNR  %.2f dB at the first validation, %.2f dB at the last (%+.2f dB)\n", first, last, last - first }'
mouse=$(dirname "$(find "$out/validation" -name gaussians.ply | sort | tail -n 1)")
echo "Gaussians      $mouse/gaussians.ply"
echo "turntable      $(ls "$mouse"/turntable.mp4 "$mouse"/turntable.png 2>/dev/null | head -n 1)"
echo "viewer         $mouse/viewer.html"
moment=$(dirname "$(find "$out/reconstructed" -name provenance.json | sort | head -n 1)")
echo "reconstructed  $moment (from four of its views), $out/from_one_view/${moment##*/} (from one)"
echo "data report    $out/doctor.html"
echo "training log   $out/run/log.jsonl"
