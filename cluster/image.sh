#!/usr/bin/env bash
# What both images hold, made by this one script inside them (Dockerfile, apptainer.def): the packages of cluster/setup.sh, the
# programs for all GPU architectures in /opt/mfl/bin, and no sources. Runs as root in NVIDIA's development image, which brings CUDA,
# NCCL and cuDNN; /src is the repository.
set -euo pipefail
cd /src
rm -rf build   # the host's
source cluster/setup.sh

# PMIx and OpenMPI are Ubuntu's here and the cluster's outside: srun --mpi=pmix needs the same major versions of PMIx to speak.
packages+=(ffmpeg ca-certificates)
install_packages
lack=$(cuda_lacks)
[[ -z $lack ]] || die "The image lacks a part of CUDA: $lack"
have_nvcc
build release mfl_train_program mfl_data_program mfl_infer mfl_convert mfl_bench
mkdir -p /opt/mfl/bin /opt/mfl/cluster
for program in mfl_train mfl_data mfl_infer mfl_convert mfl_bench; do
  install -m 755 "build/release/$program" /opt/mfl/bin/
done
cp -r configs /opt/mfl/
install -m 755 cluster/preflight.sh /opt/mfl/cluster/
install -m 644 cluster/env.sh /opt/mfl/cluster/
cp LICENSE README.md /opt/mfl/
for program in /opt/mfl/bin/*; do "$program" --help >/dev/null; done
rm -rf build /var/lib/apt/lists/*
