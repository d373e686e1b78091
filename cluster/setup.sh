# Sourced by demo.sh and test.sh: what a fresh Debian 12 or Ubuntu 24.04 needs, and how to build on this machine.
# shellcheck shell=bash
#
#   MFL_SKIP_INSTALL=1   never call apt-get (other distributions; machines without the right to install)
#   MFL_JOBS=N           compile N files at a time, instead of what cores and memory allow

packages=(
  build-essential cmake ninja-build ccache
  libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libyaml-cpp-dev
  libhdf5-dev libdeflate-dev zlib1g-dev libopencv-dev
  protobuf-compiler libprotobuf-dev
  libopenmpi-dev openmpi-bin
  libgtest-dev
)

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

install_packages() {
  [[ ${MFL_SKIP_INSTALL:-0} != 1 ]] || return 0
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "This is neither Debian nor Ubuntu. Install what provides: ${packages[*]}; then set MFL_SKIP_INSTALL=1."
  local missing=() name
  for name in "${packages[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  local root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "These packages are missing, and there is no sudo; as root: apt-get install -y ${missing[*]}"
    # Without a terminal nobody could type a password.
    if [[ -t 0 ]]; then root=(sudo); else root=(sudo -n); fi
  fi
  say "installing ${missing[*]}"
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "The packages could not be installed (see above). By hand: sudo apt-get install -y ${missing[*]}; then MFL_SKIP_INSTALL=1."
}

# Puts nvcc on the PATH; false without one.
have_nvcc() {
  command -v nvcc >/dev/null && return 0
  [[ -x /usr/local/cuda/bin/nvcc ]] || return 1
  export PATH=/usr/local/cuda/bin:$PATH
}
# Names the first thing that a CUDA build lacks; nothing when all is there.
cuda_lacks() {
  have_nvcc || { echo "no nvcc"; return; }
  local toolkit header folder
  toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
  for header in nccl.h cudnn.h; do
    for folder in "$toolkit/include" "$toolkit"/targets/*/include /usr/include /usr/include/x86_64-linux-gnu /usr/local/include; do
      [[ -e $folder/$header ]] && continue 2
    done
    echo "nvcc is here, but not $header (packages libnccl-dev and cudnn of NVIDIA's repository)"
    return
  done
}
have_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# Compilers at a time: one a core, as long as each has $1 GiB of the memory that is free.
parallel_jobs() {
  [[ -z ${MFL_JOBS:-} ]] || { echo "$MFL_JOBS"; return; }
  local cores memory n
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ {print int($2 / 1048576)}' /proc/meminfo)
  n=$((memory / $1 < cores ? memory / $1 : cores))
  echo $((n > 0 ? n : 1))
}

# build PRESET [TARGET...] [-DNAME=VALUE...]: configures and builds; all targets when none is named.
build() {
  local preset=$1 options=() targets=() word gib=1
  shift
  for word in "$@"; do
    if [[ $word == -D* ]]; then options+=("$word"); else targets+=("$word"); fi
  done
  [[ $preset == cpu ]] || gib=3  # device code takes more memory to compile
  if command -v ccache >/dev/null; then
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    [[ $preset == cpu ]] || options+=(-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
  fi
  say "building ${targets[*]:-everything} (preset $preset)"
  cmake --preset "$preset" "${options[@]}" >/dev/null
  cmake --build --preset "$preset" -j "$(parallel_jobs $gib)" ${targets[@]:+--target "${targets[@]}"}
}
