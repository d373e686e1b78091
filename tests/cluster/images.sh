#!/usr/bin/env bash
# Of the job scripts and the container recipes, what can be checked where neither can run: syntax, that both recipes build the same
# image, that its packages are known to this distribution, and preflight's answers to a wrong command line and a missing file.
#   tests/cluster/images.sh BUILD
set -euo pipefail
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/../../cluster"
for script in *.sh *.sbatch ../tests/cluster/*.sh; do bash -n "$script"; done
differ() { echo "Dockerfile and apptainer.def differ in $1: '$2' and '$3'"; exit 1; }
same() { [[ -n $2 && $2 == "$3" ]] || differ "$@"; }
same base "$(sed -n 's/^FROM //p' Dockerfile)" "$(sed -n 's/^From: //p' apptainer.def)"
same "how it is made" "$(sed -n 's/^RUN //p' Dockerfile)" "$(sed -n '/^%post/,/^%/s/^    //p' apptainer.def)"
same environment "$(sed -n 's/^ENV //p' Dockerfile)" "$(sed -n 's/^    export //p' apptainer.def)"

if command -v apt-cache >/dev/null; then
  source setup.sh
  known=$(apt-cache pkgnames)
  if [[ -n $known ]]; then
    # shellcheck disable=SC2154  # of setup.sh
    for package in "${packages[@]}" $(sed -nE 's/^packages\+=\((.*)\)$/\1/p' image.sh); do
      grep -qxF -- "$package" <<<"$known" || { echo "no package $package in this distribution"; exit 1; }
    done
  fi
fi

export MFL_BUILD=$build
said=$(./preflight.sh --data /nowhere.h5 --output /tmp --device cpu) && { echo "$said"; echo "preflight accepts a file that is not there"; exit 1; }
grep -q '^FAIL  read .*/nowhere.h5' <<<"$said"
code=0
./preflight.sh --data 2>/dev/null || code=$?
((code == 2))
echo "scripts, recipes and preflight are as they should be"
