#!/usr/bin/env bash
# The job scripts under a real Slurm: its controller, a node's daemon and munge, all of this test's own, on this machine.
#   tests/cluster/slurm.sh BUILD
# What is shown: four ranks train; a signal makes them write a checkpoint, the job is queued again and goes on to the same bits; a time
# limit does the same; a drained node takes nothing until it is resumed; an array trains a grid and its table is printed, another makes
# the views of a set; a rank that fails, and one that is killed, end the job with the cause in its log.
# Exit code 77: no Slurm, no munge or no right to run them here.
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
export PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged srun sbatch mpirun; do
  command -v $program >/dev/null || { echo "[  SKIPPED ] no $program (Debian: slurm-wlm, munge, openmpi-bin)"; exit 77; }
done
((EUID == 0)) || { echo "[  SKIPPED ] Slurm's daemons want root"; exit 77; }

D=$(mktemp -d /tmp/mfl_slurm.XXXXXX)
finish() {
  local code=$?
  # Jobs first: a step whose slurmd is gone would stay for good.
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  scancel --user=root 2>/dev/null || true
  for _ in $(seq 75); do [[ -n $(squeue -h 2>/dev/null) ]] || break; sleep 0.2; done
  for daemon in slurmd slurmctld munged; do
    [[ ! -f $D/$daemon.pid ]] || kill "$(cat "$D/$daemon.pid")" 2>/dev/null || true
  done
  if ((code)); then
    for log in "$D"/w/*.log "$D"/slurmctld.log "$D"/slurmd.log; do echo "== $log"; tail -n 25 "$log"; done
  fi
  sleep 0.5
  rm -rf "$D"
  exit $code
}
trap finish EXIT
say() { printf '%3d s  %s\n' $SECONDS "$*"; }

# ---- a cluster of one node ----
chmod 755 "$D"
mkdir "$D/state" "$D/spool" "$D/w"
head -c 1024 /dev/urandom >"$D/key"
chmod 600 "$D/key"
munged --force --socket="$D/munge.sock" --key-file="$D/key" --pid-file="$D/munged.pid" --log-file="$D/munged.log" --seed-file="$D/seed"
host=$(hostname -s) port=$((20000 + $$ % 20000))
cat >"$D/slurm.conf" <<CONF
ClusterName=mfl
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
# A job that is queued again waits until its old credentials have expired; two minutes by default.
AuthInfo=socket=$D/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.pid
SlurmctldLogFile=$D/slurmctld.log
SlurmdLogFile=$D/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
# PMIx names its folders by job and leaves those of killed steps behind: numbers of this cluster's own.
FirstJobId=$port
TmpFS=$D
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$D/slurm.conf
slurmctld && slurmd
for _ in $(seq 50); do [[ $(sinfo -h -o %T 2>/dev/null) != idle ]] || break; sleep 0.2; done
[[ $(sinfo -h -o %T) == idle ]] || { echo "the node does not come up"; exit 1; }
say "Slurm $(slurmctld -V | cut -d' ' -f2): $(sinfo -h -o '%n, %c CPUs, %T')"

# ---- jobs ----
export MFL_ROOT=$root MFL_BUILD=$build OMP_NUM_THREADS=1
"$build/mfl_data" scenes -o "$D/s.h5" --samples 8 --views 7 --image_size 32 --seed 5 &>/dev/null
# job NAME RANKS SCRIPT [sbatch options] -- arguments: its number; its log is $D/w/NAME.log
job() {
  local name=$1 ranks=$2 script=$3 options=()
  shift 3
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  sbatch --parsable --job-name="$name" --output="$D/w/$name.log" --ntasks="$ranks" --ntasks-per-node="$ranks" --cpus-per-task=1 --gpus-per-node=0 \
    "${options[@]}" "$root/cluster/$script" "$@"
}
tiny=("$root/configs/tiny.yaml" --device cpu --set "mfl.data.train=$D/s.h5" --set validation.enabled=false --set training.logging.vis_every=0
  --set training.logging.print_every=1 --set mfl.lr_updates=50)
passes() { echo "training.schedule.max_fwdbwd_passes=$1"; }
state() { scontrol -o show job "$1" | sed -nE 's/.* JobState=([A-Z_]+) .*/\1/p'; }
restarts() { scontrol -o show job "$1" | sed -nE 's/.* Restarts=([0-9]+) .*/\1/p'; }
until_true() {   # SECONDS WHAT COMMAND...
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < limit)) || { echo "not within the time: $what"; exit 1; }
    sleep 0.3
  done
}
is() { [[ $(state "$1") == "$2" ]]; }
says() { grep -q -- "$2" "$D/w/$1.log" 2>/dev/null; }
last=ckpt_0000000000000012.pt

# The time limit takes two minutes, beside everything else: Slurm sends the signal up to a minute earlier than asked for, which of one
# minute could be while ranks are still being launched.
limited=$(job limited 1 train_gslrm.sbatch --time=2 --signal=USR1@30 -- "${tiny[@]}" --output "$D/w/limited" --set "$(passes 100000)")
until_true 60 "a job starts on a node that has just come up" says limited 'pass 3/'

undisturbed=$(job undisturbed 4 train_gslrm.sbatch -- "${tiny[@]}" --output "$D/w/a" --set "$(passes 12)")
until_true 120 "four ranks train" is "$undisturbed" COMPLETED
grep -q '"ranks":4' "$D/w/a/log.jsonl"
say "four ranks have trained"

signalled=$(job signalled 4 train_gslrm.sbatch -- "${tiny[@]}" --output "$D/w/b" --set "$(passes 12)")
until_true 60 "the job trains" says signalled 'pass 3/12'
scancel --signal=USR1 "$signalled"
until_true 60 "the signal stops it" says signalled 'stopped by a signal after pass'
until_true 60 "it is queued again" says signalled 'is queued again'
until_true 120 "it goes on and finishes" is "$signalled" COMPLETED
[[ $(restarts "$signalled") == 1 ]]
grep -q 'resume: from' "$D/w/signalled.log"
for run in a b; do
  "$build/mfl_convert" convert --keep model. "$D/w/$run/$last" "$D/w/$run.safetensors" >/dev/null
done
cmp "$D/w/a.safetensors" "$D/w/b.safetensors"
say "signalled, queued again, resumed: the same bits"

scontrol update nodename="$host" state=drain reason=test
drained=$(job drained 1 train_gslrm.sbatch -- "${tiny[@]}" --output "$D/w/drained" --set "$(passes 2)")
sleep 3
is "$drained" PENDING
scontrol update nodename="$host" state=resume
until_true 60 "the resumed node takes it" is "$drained" COMPLETED
say "a drained node has taken nothing, and has when it was resumed"

export MFL_SWEEPS=$D/w/sweeps
array=$(job sweep 1 sweep.sbatch --array=0-2 -- "${tiny[0]}" training.optimizer.lr 1e-3 2e-3 4e-3 -- "${tiny[@]:1}" --set "$(passes 4)")
for task in 0 1 2; do until_true 120 "array task $task" is "${array}_$task" COMPLETED; done
"$root/cluster/sweep_table.sh" "$D/w/sweeps/training.optimizer.lr"
say "an array has trained a grid"

"$build/mfl_convert" tiny-pipeline -o "$D/p" --image_size 16 --widths 32 &>/dev/null
array=$(job infer 1 infer_array.sbatch --array=1-2 -- "$D/w/views" --dataset "$D/s.h5" --limit 3 --mvdiffusion "$D/p" --device cpu --compute f32 --encoders f32 --steps 1)
for task in 1 2; do until_true 120 "array task $task" is "${array}_$task" COMPLETED; done
[[ $(find "$D/w/views" -name views.json | wc -l) == 3 && $(find "$D/w/views/part_1" -name views.json | wc -l) == 2 ]]
say "an array has made the views of a set, a part a task"

failing=$(job failing 2 train_gslrm.sbatch -- "${tiny[@]}" --output "$D/w/failing" --set mfl.data.train=/nowhere.h5)
until_true 60 "a job without data fails" is "$failing" FAILED
scontrol -o show job "$failing" | grep -q 'ExitCode=3:0'
says failing '/nowhere.h5'
killed=$(job killed 2 train_gslrm.sbatch -- "${tiny[@]}" --output "$D/w/killed" --set "$(passes 100000)")
until_true 60 "the job trains" says killed 'pass 3/'
pkill -9 -n -f "mfl_train.*$D/w/killed"
until_true 60 "a killed rank ends the job" is "$killed" FAILED
says killed 'Killed'
say "a failing rank and a killed one end their jobs, with the cause in the log"

until_true 180 "the time limit stops the run" says limited 'stopped by a signal after pass'
until_true 60 "it is queued again" says limited 'is queued again'
ls "$D"/w/limited/ckpt_*.pt >/dev/null
until_true 60 "and goes on" says limited 'resume: from'
scancel "$limited"
say "the time limit: checkpoint, queued again, resumed"
