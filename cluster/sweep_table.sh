#!/usr/bin/env bash
# The runs of a sweep side by side, from their logs: last training loss, last validation, time.
#   cluster/sweep_table.sh sweeps/KEY
# Runs whose merged configurations differ in more than KEY, or that come from another commit or data file, are refused with the
# difference: their figures do not answer the question.
set -euo pipefail
folder=${1:?usage: cluster/sweep_table.sh sweeps/KEY}
key=$(basename "$folder") first=
field() { sed -nE "s/.*\"$2\":\"?([^,\"}]*).*/\1/p" <<<"$1"; }
rows=()
for run in "$folder"/*/; do
  run=${run%/} value=$(basename "$run") log=$run/log.jsonl
  [[ -f $log ]] || { echo "$run has no log.jsonl: it has not started." >&2; continue; }
  start=$(grep -m1 '"event":"start"' "$log")
  # What makes runs comparable: the configuration without the key's own name and the run's folders, the commit, the data.
  same=$(grep -vE "^ *(${key##*.}|[a-z_]*(dir|output)):" "$run/config.yaml"; for f in commit data_hash ranks seed; do echo "$f $(field "$start" $f)"; done)
  if [[ -z $first ]]; then
    first=$run reference=$same
  elif [[ $same != "$reference" ]]; then
    echo "$run and $first differ in more than $key:" >&2
    diff <(echo "$reference") <(echo "$same") | grep '^[<>]' >&2 || true
    exit 3
  fi
  step=$(grep '"event":"step"' "$log" | tail -1) validation=$(grep '"event":"validation"' "$log" | tail -1 || true)
  row=$(printf '%-12s %8s %10.5g' "$value" "$(field "$step" pass)" "$(field "$step" loss)")
  for metric in psnr psnr_held_out ssim lpips; do
    figure=$(field "$validation" $metric)
    row+=$(printf ' %14s' "${figure:+$(printf '%.4f' "$figure")}")
  done
  rows+=("$row")
done
[[ -n $first ]] || { echo "$folder holds no runs." >&2; exit 3; }
printf '%-12s %8s %10s %14s %14s %14s %14s\n' "${key##*.}" pass loss psnr psnr_held_out ssim lpips
printf '%s\n' "${rows[@]}" | sort -g
