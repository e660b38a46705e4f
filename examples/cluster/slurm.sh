#!/bin/sh
# An array of Slurm jobs, and a job that merges their parts when all are done:
#   slurm.sh quantize <input> <output> <parts> [options of higgs quantize]
#   slurm.sh sensitivity <model> <file> <parts> [options of higgs sensitivity]
# Input and output must be where all nodes see them. HIGGS names the command, SBATCH_* what sbatch is to be told.
set -eu
usage() {
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
task() {
  verb=$1 input=$2 output=$3 parts=$4
  shift 4
  exec ${HIGGS:-higgs} "$verb" "$input" -o "$output" --part "$parts" --resume "$@"
}

case ${1-} in
  part) shift; task "$@" ;;
  merge) exec ${HIGGS:-higgs} merge "$2" --resume ;;
  quantize | sensitivity) [ $# -ge 4 ] || usage ;;
  *) usage ;;
esac

# A task that was preempted or whose node failed is queued again, and goes on where its journal ends. The merge waits for all to end, and names
# parts that are not complete.
array=$(sbatch --parsable --job-name="higgs-$1" --array="1-$4" --requeue --open-mode=append \
  --output="$3.part-%a.log" "$0" part "$@")
merge=$(sbatch --parsable --job-name="higgs-merge" --dependency="afterany:$array" --requeue \
  --open-mode=append --output="$3.merge.log" "$0" merge "$3")
echo "parts: job $array, merge: job $merge, logs: $3.*.log"
