# Sourced by the job scripts: the environment of every rank, each variable with its reason, and how ranks are started.
# What is set already stays as it is.
# shellcheck shell=bash

# Host threads of a rank. Without it every rank's loops take the whole node's cores, and ranks fight over them.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# Threads that wait sleep, so that the loader's and the checkpoint writer's get the cores.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# Adding in the NVLink switch has no documented order, and its set-up fails in many containers. We keep the bits instead.
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0}
# NCCL's own words when it fails; silent otherwise.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
# OpenMPI in containers lacks the right to read another process's memory, and says so for every pair of ranks.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
# mpirun and its daemons notice that a host is gone when their own connections are found dead: after 8 minutes by default, and while
# they are not, mpirun does not end. With these it is 10 to 12 s: after the ranks have named who is silent (7.5 s), and before they end by
# themselves (mfl.faults.silence_seconds, 15 s), since mpirun's word to a lost daemon would put off that finding.
export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-2}
export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-2}
export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-5}
# Errors of device kernels at the call that made them would cost the overlap; to look for one: MFL_SYNC=1.

# Which build: the programs of this node type.
MFL_BUILD=${MFL_BUILD:-build/cuda}

# ranks PROGRAM ARGUMENTS...: one rank a task, on the GPU unless --device says otherwise. Exit code 75 means stopped by a signal
# with a checkpoint: the job is queued again under its own number, and its next start goes on. Any other code is the job's.
ranks() {
  local program=$1 code=0
  shift
  [[ -x $MFL_BUILD/$program ]] || { echo "There is no $MFL_BUILD/$program (looked from $PWD). Build it (./test.sh), submit from the repository's root, or set MFL_BUILD." >&2; return 2; }
  [[ " $* " == *" --device "* ]] || set -- "$@" --device cuda
  srun --mpi="${MFL_SRUN_MPI:-pmix}" --kill-on-bad-exit=1 "$MFL_BUILD/$program" "$@" || code=$?
  if ((code == 75)); then
    echo "stopped with a checkpoint; job ${SLURM_JOB_ID} is queued again"
    scontrol requeue "$SLURM_JOB_ID"   # of an array: this task alone
  fi
  return "$code"
}
