#!/usr/bin/env bash
# Three hosts that are network namespaces on one machine, four ranks over TCP between them, and cables that are cut.
#   tests/cluster/hosts.sh BUILD
# What is shown: a host whose link goes down in mid-step, and mpirun's own host when the switch loses it without a word, end the run on
# all hosts within 30 s; the ranks that can be heard name those that cannot; each next start goes on, to the bits of a run that nobody
# disturbed. What the hosts set is cluster/env.sh.
# Exit code 77: no right to make namespaces here, or no program for it.
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin
for program in ip unshare mpirun; do
  command -v $program >/dev/null || { echo "[  SKIPPED ] no $program (Debian: iproute2, util-linux, openmpi-bin)"; exit 77; }
done
((EUID == 0)) || { echo "[  SKIPPED ] network namespaces want root"; exit 77; }

id=mfl$$
D=$(mktemp -d /tmp/mfl_hosts.XXXXXX)
hosts=(a b c)
pids() { for h in "${hosts[@]}"; do ip netns pids $id"$h" 2>/dev/null; done; }
finish() {
  local code=$?
  for p in $(pids); do kill -9 "$p" 2>/dev/null || true; done
  if ((code && code != 77)); then for log in "$D"/*.log; do echo "== $log"; tail -n 25 "$log"; done; fi
  for n in switch "${hosts[@]}"; do ip netns delete $id$n 2>/dev/null || true; done
  rm -rf "$D"
  exit $code
}
trap finish EXIT
say() { printf '%3d s  %s\n' $SECONDS "$*"; }

# ---- three hosts and a switch ----
{ ip netns add ${id}switch && ip -n ${id}switch link add name bridge type bridge && ip -n ${id}switch link set dev bridge up &&
  unshare --uts true; } 2>/dev/null || { echo "[  SKIPPED ] no network namespaces here"; exit 77; }
for i in "${!hosts[@]}"; do
  h=${hosts[i]}
  ip netns add $id"$h"
  ip -n ${id}switch link add name "port_$h" type veth peer name eth0 netns $id"$h"
  ip -n ${id}switch link set dev "port_$h" master bridge up
  ip -n $id"$h" link set dev lo up
  ip -n $id"$h" address add 10.77.0.$((i + 1))/24 dev eth0
  ip -n $id"$h" link set dev eth0 up
done
# What ssh would do: a command line on another host, in an environment of that host.
cat >"$D/agent" <<AGENT
#!/bin/bash
host=\$1
shift
exec env -i PATH="\$PATH" HOME=/root TMPDIR=$D ip netns exec $id\$host unshare --uts bash -c 'hostname "\$0"; exec bash -c "\$1"' "\$host" "\$*"
AGENT
chmod +x "$D/agent"
# shellcheck source=cluster/env.sh
source "$root/cluster/env.sh"
export OMP_NUM_THREADS=1 TMPDIR=$D

# ---- runs of 12 passes, a checkpoint every three ----
passes=12
last=ckpt_$(printf %016d $passes).pt
"$build/mfl_data" scenes -o "$D/s.h5" --samples 8 --views 7 --image_size 32 --seed 5 &>/dev/null
mpi=(mpirun --allow-run-as-root --oversubscribe --bind-to none -np 4)
train() {   # FOLDER
  echo "$build/mfl_train" "$root/configs/tiny.yaml" --device cpu --output "$D/$1" --set mfl.data.train="$D/s.h5" --set validation.enabled=false \
    --set training.logging.vis_every=0 --set training.logging.print_every=1 --set training.checkpointing.checkpoint_every=3 --set mfl.lr_updates=50 \
    --set mfl.bucket_mb=0.2 --set training.schedule.max_fwdbwd_passes=$passes
}
# start NAME [PACE]: in the background, from host a over all three; one rank sleeps PACE ms a pass.
start() {
  local command=(ip netns exec ${id}a unshare --uts bash -c 'hostname a; exec "$@"' -- "${mpi[@]}" --host a:2,b:1,c:1 -mca plm_rsh_agent "$D/agent"
    -mca btl tcp,self -mca btl_tcp_if_include eth0 -mca oob_tcp_if_include eth0 -x OMP_NUM_THREADS)
  [[ -z ${2:-} ]] || command+=(-x "MFL_TEST_SLOW_RANK=0:$2")
  # shellcheck disable=SC2046  # words
  "${command[@]}" $(train hosts) &>"$D/$1.log" &
  started=$!
}
until_true() {   # SECONDS WHAT COMMAND...
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < limit)) || { echo "not within the time: $what"; exit 1; }
    sleep 0.2
  done
}
gone() { [[ -z $(pids) ]]; }
# lost NAME PASS WHO COMMAND...: when the checkpoint of PASS is there, COMMAND cuts a cable; the log must name WHO.
lost() {
  local name=$1 checkpoint=$D/hosts/ckpt_$(printf %016d "$2").pt who=$3
  shift 3
  until_true 60 "the checkpoint $checkpoint" test -f "$checkpoint"
  "$@"
  local cut=$SECONDS
  until_true 30 "all ranks end on all hosts" gone
  local code=0
  wait "$started" || code=$?
  ((code)) || { echo "a run without a host ended well"; exit 1; }
  grep -qE "has not heard .* in phase .*; gradient bucket .* waits for $who" "$D/$name.log" || { echo "nobody names $who"; exit 1; }
  say "$name: all have ended within $((SECONDS - cut)) s of the cut, mpirun with $code"
  [[ ! -f $D/hosts/$last ]]
}

# shellcheck disable=SC2046
"${mpi[@]}" $(train undisturbed) &>"$D/undisturbed.log"
say "four ranks on one host have trained"

start link_down 500
lost link_down 3 'rank 3 on c \(not heard' ip -n ${id}c link set dev eth0 down
ip -n ${id}c link set dev eth0 up

start silent_switch 500
lost silent_switch 6 'rank 2 on b \(not heard .*, rank 3 on c \(not heard' ip -n ${id}switch link set dev port_a nomaster
grep -q 'resume: from .*/ckpt_0000000000000003.pt' "$D/silent_switch.log"
ip -n ${id}switch link set dev port_a master bridge

start finished
wait "$started"
grep -q 'resume: from .*/ckpt_0000000000000006.pt' "$D/finished.log"
for run in undisturbed hosts; do
  "$build/mfl_convert" convert --keep model. "$D/$run/$last" "$D/$run.safetensors" >/dev/null
done
cmp "$D/undisturbed.safetensors" "$D/hosts.safetensors"
say "resumed and finished: the same bits"
