#!/usr/bin/env bash
# From a fresh machine to a trained model in minutes: installs what is missing, builds, renders procedural scenes, trains a
# tiny GS-LRM on them, and prints where to look. Uses a GPU when there is one. Asks nothing.
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

say "rendering scenes"
rm -rf "$out"
mkdir -p "$out"
"$bin/mfl_data" scenes --output "$out/train.h5" --samples 60 --views 6 --image_size 64 --seed 1
"$bin/mfl_data" scenes --output "$out/val.h5" --samples 2 --views 6 --image_size 64 --seed 1 --first 1000

say "training on $device"
"$bin/mfl_train" configs/tiny.yaml --device "$device" --output "$out/run" \
  --set training.dataset.dataset_path="$out/train.h5" \
  --set validation.dataset_path="$out/val.h5" --set validation.output_dir="$out/validation"

say "done in $((SECONDS - started)) s"
# Of views that the model was not given, of scenes that it was not trained on, from the run's own log.
sed -nE 's/.*"event": *"validation".*"psnr_held_out": *([0-9.]+).*/\1/p' "$out/run/log.jsonl" |
  awk 'NR == 1 { first = $1 } { last = $1 } END { if (NR) printf "held-out PSNR  %.2f dB at the first validation, %.2f dB at the last (%+.2f dB)\n", first, last, last - first }'
newest() { find "$out" -name "$1" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }
echo "Gaussians      $(newest '*.ply')"
echo "turntable      $(newest 'turntable.png')"
echo "training log   $out/run/log.jsonl"
