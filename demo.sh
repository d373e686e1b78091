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
"$bin/mfl_data" scenes --output "$out/train.h5" --samples 64 --views 10 --image_size 64 --seed 1
"$bin/mfl_data" scenes --output "$out/val.h5" --samples 4 --views 10 --image_size 64 --seed 2

say "training on $device"
"$bin/mfl_train" configs/tiny.yaml --device "$device" --output "$out/run"

say "done in $((SECONDS - started)) s"
# The validations' held-out PSNR, from the run's own log.
sed -nE 's/.*"event": *"validation".*"psnr": *([0-9.]+).*/\1/p' "$out/run/log.jsonl" |
  awk 'NR == 1 {first = $1} {last = $1} END {if (NR) printf "held-out PSNR: %.2f dB at first, %.2f dB at last: %+.2f dB\n", first, last, last - first}'
find "$out/run" -name '*.ply' | sort | tail -n 1 | sed 's/^/Gaussians:  /'
find "$out/run" -name '*turntable*' | sort | tail -n 1 | sed 's/^/turntable:  /'
