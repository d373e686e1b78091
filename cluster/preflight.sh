#!/usr/bin/env bash
# What a run will need of this machine, or of every machine of this job, before it takes hours: a line a check, ok, warn, skip or FAIL.
#
#   cluster/preflight.sh [CONFIG.yaml] [--device cpu|cuda] [--data FILE] [--output DIR] [--ranks N] [arguments of mfl_train --plan]
#   salloc --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 cluster/preflight.sh configs/gslrm.yaml --data mouse.h5 --output /scratch/run
#
# Inside an allocation ranks are started by srun, one a task; outside it by mpirun, --ranks of them (default: one a GPU, else 2).
# Exit code: 0 if nothing FAILed, 1 if something did, 2 for a wrong command line. MFL_BUILD names the build (default: build/cuda, else build/cpu).
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${MFL_BUILD:-}
# shellcheck source=cluster/env.sh
source "$here/env.sh"   # as the jobs will have it
MFL_BUILD=$build
[[ -n $MFL_BUILD ]] || { MFL_BUILD=$here/../build/cuda; [[ -x $MFL_BUILD/mfl_train ]] || MFL_BUILD=$here/../build/cpu; }

config="" device="" data="" output=. ranks="" plan=()
while (($#)); do
  case $1 in
    --device | --data | --output | --ranks)
      (($# >= 2)) || { echo "$1 needs a value" >&2; exit 2; }
      case $1 in --device) device=$2 ;; --data) data=$2 ;; --output) output=$2 ;; --ranks) ranks=$2 ;; esac
      shift 2 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *.yaml) if [[ -z $config ]]; then config=$1; else plan+=("$1"); fi; shift ;;
    *) plan+=("$1"); shift ;;
  esac
done

failed=0
line() { printf '%-5s %-12s %s\n' "$1" "$2" "$3"; [[ $1 != FAIL ]] || failed=1; }
slurm() { [[ -n ${SLURM_JOB_ID:-} ]] && command -v srun >/dev/null; }
# One process on each machine.
everywhere() { if slurm; then srun --ntasks-per-node=1 --ntasks="${SLURM_JOB_NUM_NODES:-1}" --gpus-per-task=0 "$@"; else "$@"; fi; }
# All ranks.
launch() {
  if slurm; then
    srun --mpi="${MFL_SRUN_MPI:-pmix}" --kill-on-bad-exit=1 "$@"
  else
    local root=()
    ((EUID != 0)) || root=(--allow-run-as-root)
    mpirun "${root[@]}" --oversubscribe --bind-to none -np "$ranks" "$@"
  fi
}
human() { awk -v b="$1" 'BEGIN { split("B KiB MiB GiB TiB", u); i = 1; while (b >= 1024 && i < 5) { b /= 1024; ++i } printf(i > 1 ? "%.1f %s" : "%d %s", b, u[i]) }'; }
last_words() { grep -vE '^[[:space:]]*(-+)?$' <<<"$1" | tail -n 1; }

# ---- the programs ----
if said=$("$MFL_BUILD/mfl_train" --help 2>&1); then
  line ok programs "$MFL_BUILD/mfl_train starts"
else
  line FAIL programs "$MFL_BUILD/mfl_train does not start: $(last_words "$said"). Build it (./test.sh), or set MFL_BUILD"
fi

# ---- GPUs ----
gpus=0
if command -v nvidia-smi >/dev/null && listed=$(everywhere nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1); then
  gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
  kinds=$(sort <<<"$listed" | uniq -c | sed -E 's/^ +//')
  if (($(wc -l <<<"$kinds") == 1)); then line ok gpus "$kinds"; else line warn gpus "of different kinds or drivers; the slowest sets the pace: $(paste -sd';' <<<"$kinds")"; fi
  if busy=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader 2>/dev/null) && [[ -n $busy ]]; then
    line warn gpus "in use already, by process (memory): $(paste -sd';' <<<"$busy")"
  fi
elif [[ $device == cuda ]]; then
  line FAIL gpus "none: nvidia-smi is missing or finds no driver (${listed:-not installed})"
else
  line skip gpus "none here; ranks run on the CPU"
fi
[[ -n $device ]] || { if ((gpus > 0)); then device=cuda; else device=cpu; fi; }
[[ -n $ranks ]] || { if ((gpus > 1)); then ranks=$gpus; else ranks=2; fi; }
tasks=$ranks
if slurm; then tasks=${SLURM_NTASKS:-1}; fi

# ---- ranks: launch, and the rate at which they add gradients ----
all_reduce() {
  local name=$1 on=$2 mib=$3 said rate
  # shellcheck disable=SC2317  # launch is called by the shell that timeout starts
  if said=$(OMP_NUM_THREADS=1 timeout 120 bash -c "$(declare -f launch slurm); ranks=$ranks; launch \"\$@\"" - "$MFL_BUILD/mfl_bench" all_reduce --device "$on" --mib "$mib" --repeats 5 2>&1); then
    rate=$(grep -E "over $tasks ranks" <<<"$said" | tail -n 1)
    if [[ -n $rate ]]; then line ok "$name" "$rate"; else line FAIL "$name" "$tasks ranks were started, but the answer is: $(last_words "$said"). Launcher and MPI do not belong together: README.md, Launching"; fi
  else
    line FAIL "$name" "$tasks ranks: $(grep -m1 -iE 'error|failed| E ' <<<"$said" || last_words "$said")"
  fi
}
if ! "$MFL_BUILD/mfl_bench" --help 2>/dev/null | grep -q all_reduce; then
  line FAIL mpi "$MFL_BUILD/mfl_bench all_reduce does not start, so the launch was not tried; build mfl_bench"
elif ((tasks < 2)); then
  line skip mpi "one task: no ranks to start beside each other"
elif ! slurm && ! command -v mpirun >/dev/null; then
  line FAIL mpi "no mpirun, and this is no Slurm job"
else
  all_reduce mpi cpu 8
  if [[ $device == cuda ]] && ((gpus > 1)); then all_reduce nccl cuda 64; else line skip nccl "needs two GPUs of this machine; $gpus here"; fi
fi

# ---- disks ----
kind_of() { stat -f -c %T -- "$1" 2>/dev/null || echo unknown; }
below=$output
while [[ ! -e $below ]]; do below=$(dirname -- "$below"); done
kind=$(kind_of "$below")
case $kind in
  tmpfs | ramfs) line warn output "$below is $kind: memory, gone with the machine" ;;
  overlayfs) line warn output "$below is $kind: gone with the container" ;;
  *) line ok output "$below is $kind" ;;
esac
if probe=$(mktemp -p "$below" .mfl_preflight.XXXXXX 2>&1); then
  if seconds=$({ TIMEFORMAT=%R; time dd if=/dev/zero of="$probe" bs=4M count=64 conv=fsync status=none; } 2>&1); then
    line ok write "256 MiB, synced: $(awk -v s="$seconds" 'BEGIN { printf "%.0f MB/s", 268.4 / (s > 0.001 ? s : 0.001) }')"
  else
    line FAIL write "$below: $(last_words "$seconds")"
  fi
  rm -f -- "$probe"
else
  line FAIL write "$below cannot be written: $probe"
fi
if [[ -z $data ]]; then
  line skip read "no --data FILE"
elif [[ ! -f $data || ! -r $data ]]; then
  line FAIL read "$data is not a file that can be read here"
else
  # Past the page cache, which would answer for a file that was read lately.
  dd if="$data" iflag=nocache count=0 status=none 2>/dev/null || true
  if said=$({ dd if="$data" of=/dev/null bs=4M count=256 iflag=direct || dd if="$data" of=/dev/null bs=4M count=256; } 2>&1); then
    rate=$(awk '/copied/ { bytes = $1; for (i = 1; i <= NF; ++i) if ($i == "s,") s = $(i - 1) } END { printf "%.0f", bytes / 1e6 / (s > 1e-6 ? s : 1e-6) }' <<<"$said")
    level=ok note=""
    ((rate >= 100)) || { level=warn note=": a loader waits for the disk below some 100 MB/s a machine; copy the file to a local disk"; }
    line $level read "$data on $(kind_of "$data"): $rate MB/s$note"
  else
    line FAIL read "$data: $(last_words "$said")"
  fi
fi

free=$(df --output=avail -B1 -- "$below" | tail -n 1)
if [[ -z $config ]]; then
  line skip disk "no CONFIG.yaml to forecast checkpoints from; $(human "$free") free on $below"
elif said=$("$MFL_BUILD/mfl_train" "$config" --plan "${plan[@]}" 2>&1); then
  forecast=$(grep '^disk: ' <<<"$said")
  bytes=$(sed -nE 's/.*\(([0-9]+) bytes.*/\1/p' <<<"$forecast")
  words="${forecast#disk: }; $(human "$free") free on $below"
  words=${words/ ($bytes bytes)/}
  if [[ -z $bytes ]]; then line FAIL disk "--plan says nothing of checkpoints: $(last_words "$said")"
  elif ((bytes > free)); then line FAIL disk "$words"
  elif [[ $forecast == *"all kept"* ]]; then line warn disk "${words/ ($bytes bytes each)/}: room for $((free / bytes)) of them"
  else line ok disk "$words"; fi
else
  line FAIL disk "mfl_train --plan: $(last_words "$said")"
fi

# ---- clocks ----
if slurm && ((${SLURM_JOB_NUM_NODES:-1} > 1)); then
  if times=$(everywhere date +%s%3N 2>&1) && [[ $times =~ ^[0-9[:space:]]+$ ]]; then
    skew=$(sort -n <<<"$times" | awk 'NR == 1 { first = $1 } { last = $1 } END { print last - first }')
    level=ok
    ((skew <= 2000)) || level=warn
    ((skew <= 60000)) || level=FAIL
    line $level clocks "of $(wc -l <<<"$times") machines differ by $skew ms at most, the time to start them included"
  else
    line FAIL clocks "srun: $(last_words "$times")"
  fi
else
  line skip clocks "one machine"
fi
exit $failed
