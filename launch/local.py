"""Starts the processes of one run on this machine, and ends them together.

Use, from the repository's folder; what follows `--` are the flags of the program:

  python launch/local.py --processes=2 -- --config=configs/quickstart.py \
    --workdir=workdir/quickstart

  --processes=N         how many, each on the CPU
  --gpu                 each on one GPU instead: process i takes the i-th
  --grace=SECONDS       to end in, once another process has failed; then they are killed
  --module=harma_jax.main

Lines of output start with the number of their process. Ctrl-C and SIGTERM are passed
on: all processes save the same step and end; the same command resumes. Where a process
fails the others are ended, and the exit code is that of the first that failed (128 +
number for a signal).
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time

POLL = 0.1  # seconds


def main() -> int:
  """Runs the processes to their end; the exit code."""
  options = parse_options(sys.argv[1:])
  coordinator = f'127.0.0.1:{free_port()}'
  programs = []
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: pass_on(number, programs))
  for i in range(options.processes):
    command = command_of(i, options=options, coordinator=coordinator)
    programs.append(start(command, environ=environ_of(i, gpu=options.gpu)))
  copying = [thread for i, p in enumerate(programs) for thread in copy_output(i, p)]
  code = wait(programs, grace=options.grace)
  for thread in copying:
    thread.join()
  return code


def parse_options(words: list[str]) -> argparse.Namespace:
  """Options of this file; `words` of it are the program's."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--processes', type=int, required=True)
  parser.add_argument('--gpu', action='store_true')
  parser.add_argument('--grace', type=float, default=30.0)
  parser.add_argument('--module', default='harma_jax.main')
  parser.add_argument('words', nargs='*', metavar='-- --config=...')
  options = parser.parse_args(words)
  if options.processes < 1:
    parser.error(f'--processes: expected at least 1; found {options.processes}.')
  return options


def free_port() -> int:
  """A port that nothing listens on now."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def command_of(i: int, *, options: argparse.Namespace, coordinator: str) -> list[str]:
  """The command line of process `i`."""
  several = [
    f'--coordinator={coordinator}',
    f'--num_processes={options.processes}',
    f'--process_id={i}',
  ]
  return [sys.executable, '-m', options.module, *options.words, *several]


def environ_of(i: int, *, gpu: bool) -> dict[str, str]:
  """The environment of process `i`: on the CPU, or on the i-th GPU."""
  if not gpu:
    return {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  visible = os.environ.get('CUDA_VISIBLE_DEVICES')
  return {
    **os.environ,
    'CUDA_VISIBLE_DEVICES': visible.split(',')[i] if visible else str(i),
  }


def start(command: list[str], *, environ: dict[str, str]) -> subprocess.Popen:
  """Starts a process in a session of its own: Ctrl-C reaches it through us, once."""
  return subprocess.Popen(
    command,
    env=environ,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def pass_on(number: int, programs: list[subprocess.Popen]) -> None:
  """Sends a signal to the processes that run."""
  for program in programs:
    program.send_signal(number)


def copy_output(i: int, program: subprocess.Popen) -> list[threading.Thread]:
  """Threads that copy the lines of process `i`, its number before each."""

  def copy(source, target):
    for line in source:
      target.write(f'[{i}] {line}')
      target.flush()

  pairs = ((program.stdout, sys.stdout), (program.stderr, sys.stderr))
  threads = [threading.Thread(target=copy, args=pair, daemon=True) for pair in pairs]
  for thread in threads:
    thread.start()
  return threads


def wait(programs: list[subprocess.Popen], *, grace: float) -> int:
  """Waits for all; ends the others when one fails. The exit code of the first that did.

  Args:
    programs: running.
    grace: seconds between asking the others to end and killing them.
  """
  while not (code := failure(programs)):
    if all(program.poll() is not None for program in programs):
      return 0
    time.sleep(POLL)
  pass_on(signal.SIGTERM, programs)
  end = time.monotonic() + grace
  for program in programs:
    try:
      program.wait(max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
      program.kill()
      program.wait()
  return code


def failure(programs: list[subprocess.Popen]) -> int:
  """The exit code of one that failed, as a shell says it; 0 where none did."""
  codes = [program.poll() for program in programs]
  failed = next((code for code in codes if code), 0)
  return failed if failed >= 0 else 128 - failed


if __name__ == '__main__':
  sys.exit(main())
