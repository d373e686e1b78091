#!/usr/bin/env bash
# Weak scaling on one machine: as much work a rank on N ranks as on one, in one call. What it costs to be many, and that it changes nothing.
#
#   cluster/weak_scaling.sh N CONFIG.yaml [--device cuda|cpu] [--output DIR] [--record FILE] [--updates 50] [--warmup 10] [--no-losses]
#                           [arguments of mfl_train]
#   cluster/weak_scaling.sh 8 configs/gslrm.yaml --record scaling.jsonl --set mfl.data.train=sample.h5
#
# Runs: one rank; N ranks; N/2 ranks with twice the accumulation, which go on from the checkpoint of N; one rank with N times the
# accumulation, whose losses those of the others must equal to rounding (--no-losses leaves the last two out; they take some N times as
# long as one run). Validation and pictures are off, learning rate and losses do not depend on the length. `mfl_bench scaling` reads the
# logs: samples a second, milliseconds of an update, exposed communication, peak memory, efficiency.
# Inside a Slurm allocation ranks are started by srun, else by mpirun. MFL_BUILD names the build (default: build/cuda, else build/cpu).
# On the CPU, ranks share the cores: the losses say something, the efficiency does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${MFL_BUILD:-}
# shellcheck source=cluster/env.sh
source "$here/env.sh"
MFL_BUILD=$build
[[ -n $MFL_BUILD ]] || { MFL_BUILD=$here/../build/cuda; [[ -x $MFL_BUILD/mfl_train ]] || MFL_BUILD=$here/../build/cpu; }
fail() { echo "$1" >&2; exit "${2:-2}"; }

case ${1:-} in
  -h | --help | "") sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
ranks=$1 config=${2:-} device="" output="" record="" updates=50 warmup=10 losses=1 more=()
[[ $ranks =~ ^([2-9]|[1-9][0-9]+)$ ]] || fail "the number of ranks is '$ranks'; expected 2 or more, to be compared with one"
[[ -f $config ]] || fail "'$config' is no configuration; usage: cluster/weak_scaling.sh N CONFIG.yaml ..."
command_line="cluster/weak_scaling.sh $*"
shift 2
while (($#)); do
  case $1 in
    --device | --output | --record | --updates | --warmup)
      (($# >= 2)) || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift 2 ;;
    --no-losses) losses=0; shift ;;
    *) more+=("$1"); shift ;;
  esac
done
gpus=0
if command -v nvidia-smi >/dev/null; then gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true); fi
[[ -n $device ]] || { if ((gpus > 0)); then device=cuda; else device=cpu; fi; }
[[ $device != cuda ]] || ((ranks <= gpus)) || fail "$ranks ranks want a GPU each; this machine has $gpus"
[[ -n $output ]] || output=$(mktemp -d "${TMPDIR:-/tmp}/mfl_scaling.XXXXXX")
mkdir -p "$output"
[[ ! -e $output/one && ! -e $output/many ]] || fail "$output holds runs already; give --output another folder"
for program in mfl_train mfl_bench; do [[ -x $MFL_BUILD/$program ]] || fail "there is no $MFL_BUILD/$program: build it (./test.sh), or set MFL_BUILD"; done

launch() {   # N program arguments...
  local n=$1
  shift
  if [[ -n ${SLURM_JOB_ID:-} ]] && command -v srun >/dev/null; then
    srun --ntasks="$n" --mpi="${MFL_SRUN_MPI:-pmix}" --kill-on-bad-exit=1 "$@"
  elif ((n == 1)); then
    "$@"
  else
    command -v mpirun >/dev/null || fail "no mpirun, and this is no Slurm allocation"
    local root=()
    ((EUID != 0)) || root=(--allow-run-as-root)
    mpirun "${root[@]}" --oversubscribe --bind-to none -np "$n" "$@"
  fi
}
# The two stages name the same things differently.
resumed=4 total=$((warmup + updates))
((losses)) || resumed=0
((!losses || (ranks % 2 == 0 && total % 2 == 0))) || fail "half of $ranks ranks go on from $total updates: both must be even, or --no-losses"
if grep -qE '^pretrained_model_name_or_path:' "$config"; then
  accumulation_key=gradient_accumulation_steps batch_key=train_batch_size log=logs/log.jsonl
  common=(--set validation_steps=0 --set lr_scheduler=constant --set checkpointing_steps=1000000)
  until_update() { echo "--set max_train_steps=$1"; }
else
  accumulation_key=grad_accum_steps batch_key=batch_size_per_gpu log=log.jsonl
  common=(--set validation.enabled=false --set training.logging.vis_every=0 --set training.logging.wandb.log_every=1
    --set training.schedule.l2_warmup_steps=0 --set training.checkpointing.checkpoint_every=1000000 --set "mfl.lr_updates=$((total + resumed))")
  until_update() { echo "--set training.schedule.max_fwdbwd_passes=$(($1 * $2))"; }   # passes
fi
value() { sed -nE "s/^ *$1: *\"?([0-9]+).*/\1/p" "$output/one/config.yaml" | head -n 1; }
accumulate() { if [[ $accumulation_key == grad_accum_steps ]]; then echo "--set training.runtime.grad_accum_steps=$1"; else echo "--set $accumulation_key=$1"; fi; }
run() {   # name, ranks, until which update, accumulation or nothing
  local name=$1 n=$2 until=$3 a=${4:-} words=()
  [[ -z $a ]] || read -ra words <<<"$(accumulate "$a")"
  read -ra end <<<"$(until_update "$until" "${a:-${accumulation:-1}}")"
  printf '%4d s  %s: %d %s\n' $SECONDS "$name" "$n" "$([[ $n == 1 ]] && echo rank || echo ranks)"
  launch "$n" "$MFL_BUILD/mfl_train" "$config" --device "$device" --output "$output/$name" --resume auto "${more[@]}" "${common[@]}" "${end[@]}" "${words[@]}" \
    >"$output/$name.txt" 2>&1 || { tail -n 20 "$output/$name.txt" >&2; fail "the run '$name' of $n ranks ended with an error; all of it: $output/$name.txt" 1; }
}
peak() {   # command...: the most memory that any GPU held meanwhile, in MiB, to the variable `mib`
  mib=""
  if [[ $device != cuda ]]; then "$@"; return; fi
  nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 500 >"$output/memory.txt" 2>/dev/null &
  local watcher=$!
  "$@"
  kill $watcher 2>/dev/null || true
  wait $watcher 2>/dev/null || true
  mib=$(sort -n "$output/memory.txt" | tail -n 1)
}

# What the configuration says, overrides applied, is read from a first look that trains nothing.
launch 1 "$MFL_BUILD/mfl_train" "$config" --device "$device" --output "$output/one" "${more[@]}" "${common[@]}" --dry-run \
  >"$output/look.txt" 2>&1 || { tail -n 20 "$output/look.txt" >&2; fail "mfl_train --dry-run refuses this configuration" 1; }
accumulation=$(value $accumulation_key) batch=$(value $batch_key)
accumulation=${accumulation:-1}
peak run one 1 "$total"
rm -rf "$output"/one/ckpt_* "$output"/one/checkpoint-* "$output/one/pipeckpts"
samples=$(sed -nE 's/.*"event":"start".*"samples":([0-9]+),.*/\1/p' "$output/one/$log" | head -n 1)
update=$((batch * accumulation * ranks))
if ((losses)); then
  # An epoch that is no multiple of an update drops samples, other ones where updates are made differently; a set that is smaller than
  # what is taken at once goes round and drops none.
  ((samples % (batch * ranks) == 0)) || ((samples < batch * ranks && (samples < batch || samples % batch == 0))) ||
    fail "losses cannot be compared: $samples samples are no multiple of $batch x $ranks ranks. Take a set that is (--overfit K takes the first K samples), or --no-losses" 3
fi
peak run many "$ranks" "$total"
memory=$mib
words=()
if ((losses)); then
  if [[ $accumulation_key == grad_accum_steps ]]; then
    run many $((ranks / 2)) $((total / 2 + resumed)) $((2 * accumulation))   # it counts passes: those that were done are half as many updates
  else
    run many $((ranks / 2)) $((total + resumed)) $((2 * accumulation))
  fi
  run same 1 $((total + resumed)) $((ranks * accumulation))
  words=(--same "$output/same/$log")
fi
rm -rf "$output"/*/ckpt_* "$output"/*/checkpoint-* "$output"/*/pipeckpts
[[ -z $record ]] || words+=(--output "$record")
[[ -z $memory ]] || words+=(--peak_mib "$memory")
"$MFL_BUILD/mfl_bench" scaling --one "$output/one/$log" --many "$output/many/$log" --warmup "$warmup" --device "$device" --name "$(basename "$config" .yaml)" --command "$command_line" "${words[@]}"
printf '%4d s  logs: %s (an update of %d samples)\n' $SECONDS "$output" "$update"
