#!/usr/bin/env bash
# From a fresh machine to a reconstructed mouse in minutes: installs what is missing, builds, makes a six-camera recording of a
# procedural mouse, turns it into verified samples, trains a tiny GS-LRM on them, and prints where to look. Uses a GPU when
# there is one. Asks nothing.
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
build "$preset" mfl_data_program mfl_train_program
bin=build/$preset

rm -rf "$out"
mkdir -p "$out"

say "recording a mouse with six cameras"
"$bin/mfl_data" demo --output "$out/recording" --frames 140 --size 256

say "preprocessing: true cameras, the animal at the origin, four fifths of the time for training"
# The tip of the tail leaves some pictures at this zoom.
"$bin/mfl_data" preprocess --video_dir "$out/recording" --output_dir "$out/data" --image_size 64 --zoom 2 --allow_clipped

say "examining what came out"
"$bin/mfl_data" doctor "$out/data" --report "$out/doctor.html"

say "packing"
for split in train val; do "$bin/mfl_data" pack "$out/data/data_mouse_$split.txt"; done

say "training on $device"
"$bin/mfl_train" configs/tiny.yaml --device "$device" --output "$out/run" \
  --set training.dataset.dataset_path="$out/data/data_mouse_train.h5" \
  --set validation.dataset_path="$out/data/data_mouse_val.h5" --set mfl.val_samples=4 --set validation.output_dir="$out/validation"

say "done in $((SECONDS - started)) s"
# Of views that the model was not given, of a time that it was not trained on, from the run's own log.
sed -nE 's/.*"event": *"validation".*"psnr_held_out": *([0-9.]+).*/\1/p' "$out/run/log.jsonl" |
  awk 'NR == 1 { first = $1 } { last = $1 } END { if (NR) printf "held-out PSNR  %.2f dB at the first validation, %.2f dB at the last (%+.2f dB)\n", first, last, last - first }'
mouse=$(dirname "$(find "$out/validation" -name gaussians.ply | sort | tail -n 1)")
echo "Gaussians      $mouse/gaussians.ply"
echo "turntable      $(ls "$mouse"/turntable.mp4 "$mouse"/turntable.png 2>/dev/null | head -n 1)"
echo "viewer         $mouse/viewer.html"
echo "data report    $out/doctor.html"
echo "training log   $out/run/log.jsonl"
