#!/usr/bin/env bash
# command_lines.sh MFL_TRAIN MFL_DATA: command lines that cannot be meant, each with its exit code and a part of its sentence; and runs
# that go on, or do not, and say what they do not read.
set -euo pipefail
train=$1 data=$2 config=$(cd "$(dirname "$0")/../../configs" && pwd)/tiny.yaml
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"

expect() {  # CODE SENTENCE ARGUMENT...
  local code=0 wanted=$1 sentence=$2
  shift 2
  timeout 100 "$train" "$config" --device cpu --set mfl.data.train=s.h5 --set validation.enabled=false --set training.logging.vis_every=0 \
    --set training.schedule.max_fwdbwd_passes=2 --set training.checkpointing.checkpoint_every=1 "$@" > said 2>&1 || code=$?
  if [ $code != "$wanted" ] || ! grep -qF -- "$sentence" said; then
    cat said
    echo "$*: exit code $code, expected $wanted with: $sentence"
    exit 1
  fi
}

"$data" scenes -o s.h5 --samples 2 --views 6 --image_size 32
expect 2 'expected KEY VALUE' -s training.optimizer.lr
expect 2 'the value is empty' --init ''
expect 2 'the value is empty' --resume ''
expect 2 'Give one of them' --init a.pt --resume b.pt
expect 2 'overfit' --overfit -3
expect 3 'a split is #train, #val or #test' --output other --set mfl.data.train=s.h5#training
expect 0 'ckpt_0000000000000002.pt' --output run
expect 0 'mfl.init (nothing.pt) is not read: the run in run goes on' --output run --init nothing.pt
expect 3 'there is no checkpoint at nothing.pt' --output run --resume never --init nothing.pt
expect 0 'holds a later checkpoint, of pass 2, and mfl.resume goes back to pass 1' --output run --resume run/ckpt_0000000000000001.pt
expect 0 'which are not read: mfl.resume is never' --output run --resume never
