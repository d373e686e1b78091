#!/usr/bin/env bash
# What demo.sh does once the programs are built, and the end-to-end test in small: a recording, samples, both stages trained on
# them, and what they make of moments that they were not shown.
#
#   demo_steps.sh PROGRAMS OUT DEVICE [small]
#
# PROGRAMS: the build folder. OUT: is made anew. small: a few steps instead of minutes, nothing worth looking at.
set -euo pipefail
bin=$(cd "$1" && pwd) out=$2 device=$3 size=${4:-}
root=$(cd "$(dirname "$0")/.." && pwd)
say() { printf '\n== %s\n' "$*"; }

frames=140 recorded=256 guard=1 passes=() steps=110 six=20 film=()
if [[ $size == small ]]; then
  frames=20 recorded=128 guard=0.1 steps=2 six=2 film=(--turntable-views 3 --turntable-size 32)
  passes=(--set training.schedule.max_fwdbwd_passes=4 --set mfl.lr_updates=4 --set validation.val_every=2
          --set training.checkpointing.checkpoint_every=2 --set training.logging.vis_every=0 --set mfl.render.video_views=4
          --set mfl.render.video_size=32 --set mfl.render.turntable_size=32)
fi

rm -rf "$out"
mkdir -p "$out"

say "recording a mouse with six cameras"
"$bin/mfl_data" demo --output "$out/recording" --frames "$frames" --size "$recorded"

say "preprocessing: true cameras, the animal at the origin, four fifths of the time for training"
# The tip of the tail leaves some pictures at this zoom.
"$bin/mfl_data" preprocess --video_dir "$out/recording" --output_dir "$out/data" --image_size 64 --zoom 2 --allow_clipped --guard "$guard"

say "examining what came out"
"$bin/mfl_data" doctor "$out/data" --report "$out/doctor.html"

say "packing"
for split in train val; do "$bin/mfl_data" pack "$out/data/data_mouse_$split.txt"; done

say "training the second stage, six views to Gaussians, on $device"
"$bin/mfl_train" "$root/configs/tiny.yaml" --device "$device" --output "$out/run" \
  --set training.dataset.dataset_path="$out/data/data_mouse_train.h5" \
  --set validation.dataset_path="$out/data/data_mouse_val.h5" --set mfl.val_samples=4 --set validation.output_dir="$out/validation" "${passes[@]}"

say "training the first stage, one view to six, on $device"
"$bin/mfl_convert" tiny-pipeline -o "$out/fresh" --image_size 16 --widths 32 --layers 1
"$bin/mfl_train" "$root/configs/mouse_mvdiffusion.yaml" --device "$device" --output "$out/views_run" \
  --set img_wh=16 --set unet_from_pretrained_kwargs.sample_size=16 --set pretrained_model_name_or_path="$out/fresh" \
  --set prompt_embed_path="$out/fresh/prompt_embeds/clr_embeds.pt" --set mixed_precision=no \
  --set mfl.data.train="$out/data/data_mouse_train.h5" --set train_dataset.bg_color=0.7 --set train_dataset.augmentation=false \
  --set reference_view_idx=0 --set train_batch_size=1 --set gradient_accumulation_steps=1 --set gradient_checkpointing=false \
  --set max_train_steps="$steps" --set learning_rate=4e-3 --set lr_scheduler=linear --set lr_warmup_steps=10 --set adam_beta2=0.99 \
  --set validation_steps=0 --set checkpointing_steps=100000

# infer OUT ARGUMENTS: f32, so that every machine makes nearly the same.
infer() { local to=$1; shift; "$bin/mfl_infer" --device "$device" --compute f32 --encoders f32 --gslrm "$out/run" --out "$out/$to" "${film[@]}" "$@"; }
first=(--mvdiffusion "$out/views_run" --prompts "$out/fresh/prompt_embeds/clr_embeds.pt" --steps "$six" --guidance 1)
val=$out/data/data_mouse_val.h5

say "two moments of the last fifth: their views to Gaussians, measured in views that were not given"
infer reconstructed --dataset "$val" --limit 2 --splat --spz --turntable dataset
say "one picture of such a moment to six views, and these to Gaussians"
infer from_one_view --dataset "$val" --limit 1 "${first[@]}"
