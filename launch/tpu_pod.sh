#!/usr/bin/env bash
# Trains on a Cloud TPU of one or more hosts, one process a host.
#
#   launch/tpu_pod.sh --name=harma --zone=us-west4-a [OPTIONS] [ACTION] \
#     -- --config=configs/rsitmd.py --config.data.root=/mnt/data --workdir=/mnt/runs/a
#
# What follows -- are the flags of harma_jax.main, the same on each host. The work folder
# must be one that all hosts see: Filestore, or a bucket that --prepare mounts.
#
# ACTION
#   run      (default) makes the TPU or takes the one that is there, copies the code,
#            installs it, starts on all hosts, follows, collects the logs
#   logs     collects the logs
#   stop     asks the program to save and stop; `run` again resumes
#   delete   gives the TPU back
# OPTIONS
#   --type=v5litepod-16             of the accelerator
#   --version=v2-alpha-tpuv5-lite   of the machines' software
#   --spot                          cheaper, may be taken back: `run` again resumes
#   --prepare=COMMAND               done on each host before the start
#   --logs=FOLDER                   default logs/NAME; a file for each host
#   --dry_run                       prints every command and does none
#
# Needs gcloud, signed in, with a project set. The program goes on where this connection
# is lost: `logs` shows how far it is.
set -euo pipefail
cd "$(dirname "$0")/.."

FOLDER=harma_jax_run # in the home of each host
PYTHON=3.11
name='' zone='' prepare=true logs='' spot='' dry_run='' action=run
type=v5litepod-16
version=v2-alpha-tpuv5-lite

fail() {
  echo "error: $*" >&2
  exit 2
}

# Does a command, or prints it so that it can be pasted.
do_or_print() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() {
  do_or_print gcloud compute tpus tpu-vm "$1" "$name" --zone="$zone" "${@:2}"
}

on_all() {
  tpu ssh --worker=all --command="$1" "${@:2}"
}

make_or_take() {
  local state
  [ -z "$dry_run" ] || tpu describe '--format=value(state)'
  # A TPU that is not there has no state.
  state=$([ -n "$dry_run" ] || tpu describe '--format=value(state)' 2>/dev/null || true)
  case "$state" in
    READY) return ;;
    '') ;;
    PREEMPTED | TERMINATED) tpu delete --quiet ;;
    *) fail "Expected the TPU $name to be READY or not there; found $state. Try later." ;;
  esac
  tpu create --accelerator-type="$type" --version="$version" ${spot:+--spot}
}

copy_code() {
  local archive
  archive=$(mktemp -d)/code.tgz
  do_or_print tar --create --gzip --file="$archive" --exclude=.git --exclude=.venv \
    --exclude=workdir --exclude=logs --exclude=__pycache__ .
  do_or_print gcloud compute tpus tpu-vm scp "$archive" "$name:$FOLDER.tgz" \
    --zone="$zone" --worker=all
  rm -rf "$(dirname "$archive")"
  on_all "rm -rf $FOLDER/harma_jax && mkdir -p $FOLDER && tar -xzf $FOLDER.tgz -C $FOLDER"
}

install() {
  on_all "cd $FOLDER && python3 -m pip install --quiet --user uv &&
python3 -m uv venv --quiet --allow-existing --python $PYTHON .venv &&
python3 -m uv pip install --quiet --python .venv -e '.[tpu]'"
}

# Outlives the connection; tail ends with it.
start() {
  local words
  words=$(printf '%q ' "$@")
  on_all "($prepare) && cd $FOLDER || exit
nohup .venv/bin/python -m harma_jax.main $words > run.log 2>&1 < /dev/null &
echo \$! > run.pid
tail --pid=\$! -n +1 -F run.log &
wait \$(cat run.pid)"
}

collect_logs() {
  do_or_print mkdir -p "$logs"
  on_all "cat $FOLDER/run.log" --output-directory="$logs"
}

while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --prepare=*) prepare=${1#*=} ;;
    --logs=*) logs=${1#*=} ;;
    --spot) spot=1 ;;
    --dry_run) dry_run=1 ;;
    run | logs | stop | delete) action=$1 ;;
    --)
      shift
      break
      ;;
    *) fail "Expected an option or action of $0 (its head lists them); found $1." ;;
  esac
  shift
done
[ -n "$name" ] && [ -n "$zone" ] || fail "Expected --name=NAME and --zone=ZONE."
logs=${logs:-logs/$name}

case "$action" in
  run)
    [ $# -gt 0 ] || fail "Expected -- and the flags of harma_jax.main; found none."
    make_or_take
    copy_code
    install
    code=0
    start "$@" || code=$?
    collect_logs
    exit "$code"
    ;;
  logs) collect_logs ;;
  stop) on_all "kill -TERM \$(cat $FOLDER/run.pid)" ;;
  delete) tpu delete --quiet ;;
esac
