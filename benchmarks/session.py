"""Records in a terminal how a run looks, how it stops at awkward moments, and resumes.

  python -m benchmarks.session --out=benchmarks/results/session.txt [--folder=FOLDER]

Wants tmux. A shell of 100 columns is typed to: the quickstart, on fewer scenes, is
stopped by Ctrl-C as soon as the screen shows one of `MOMENTS`, and started again each
time; at last it runs to its end. What the terminal shows is written as it stands.
"""

import argparse
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 100, 50
SCENES = ' '.join(
  f'--config.{stage}data.scenes.{split}={count}'
  for stage in ('', 'pretrain.')
  for split, count in (('train', 250), ('val', 50), ('test', 50))
)
RUN = (
  f'python -m harma_jax.main --config=quickstart.py --workdir=run {SCENES} '
  '--config.data.root=scenes'
)


class Moment(NamedTuple):
  """When Ctrl-C is pressed.

  Attributes:
    what: in words.
    shown: what the screen shows then; '' for a fifth of a second after the start.
    times: how often it is pressed.
    command: that runs.
  """

  what: str
  shown: str
  times: int = 1
  command: str = RUN


MOMENTS = (
  Moment('while Python starts', ''),
  Moment('while the first step is compiled', 'compiling the step'),
  Moment('between two steps', r'step [3-9] of'),
  Moment('on the last steps of the first stage', r'step 1[78] of 18'),
  Moment('in an evaluation of the second', r'stage 2 of 2[\s\S]*evaluating'),
  Moment(
    'twice, between two steps', r'stage 2 of 2[\s\S]*step [1-9]\d* of 54 ', times=2
  ),
  Moment('in a rehearsal', 'compil', command=f'{RUN} --dry_run'),
)


def main() -> None:
  """Writes what the terminal showed."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--out', type=pathlib.Path, required=True)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder, Terminal(folder) as terminal:
    parts = [stopped(terminal, moment) for moment in MOMENTS]
    terminal.type(RUN)
    parts.append(('left to its end', terminal.until_prompt()))
    terminal.type('echo exit code $?')
    for command in ('evaluate --workdir=run', 'report --workdir=run'):
      terminal.type(f'python -m harma_jax {command}')
      parts.append((command, terminal.until_prompt()))
  rule = '=' * WIDTH
  text = '\n\n'.join(f'{rule}\n{title}\n{rule}\n{screen}' for title, screen in parts)
  options.out.write_text(text.replace(f'{REPOSITORY}', 'CHECKOUT') + '\n')


def stopped(terminal: 'Terminal', moment: Moment) -> tuple[str, str]:
  """What the terminal shows of a run that is stopped, with its exit code."""
  terminal.type(moment.command)
  if moment.shown:
    terminal.until(moment.shown)
  else:
    time.sleep(0.2)
  for _ in range(moment.times):
    terminal.press('C-c')
    time.sleep(0.3)
  begin = time.monotonic()
  terminal.until_prompt()
  seconds = time.monotonic() - begin
  terminal.type('echo exit code $?')
  time.sleep(1)
  return f'Ctrl-C {moment.what}; ended after {seconds:.1f} s', terminal.screen()


class Terminal:
  """A shell in tmux."""

  def __init__(self, folder: str):
    self._socket = ['tmux', '-f', '/dev/null', '-L', pathlib.Path(folder).name]
    path = f'{pathlib.Path(sys.executable).parent}:$PATH'
    shell = (
      f'cd {shlex.quote(folder)}; export PATH={path} PYTHONPATH={REPOSITORY} '
      "HISTFILE= JAX_PLATFORMS=cpu PS1='$ '; exec bash --norc"
    )
    size = ['-x', str(WIDTH), '-y', str(HEIGHT)]
    self._call('new-session', '-d', *size, 'bash', '-c', shell)
    self._call('set-option', '-g', 'history-limit', '20000')

  def __enter__(self) -> 'Terminal':
    time.sleep(1)
    return self

  def __exit__(self, *_: object) -> None:
    self._call('kill-server')

  def _call(self, *words: str) -> str:
    ended = subprocess.run(
      [*self._socket, *words], check=True, capture_output=True, text=True
    )
    return ended.stdout

  def type(self, line: str) -> None:
    """Types a line; a command begins with an empty screen."""
    if not line.startswith('echo'):
      self._call('send-keys', '-R', 'C-l')
      self._call('clear-history')
      time.sleep(0.3)
    self._call('send-keys', line, 'Enter')
    time.sleep(0.3)

  def press(self, key: str) -> None:
    self._call('send-keys', key)

  def screen(self) -> str:
    """All lines since the screen was empty."""
    shown = self._call('capture-pane', '-p', '-S', '-20000')
    return '\n'.join(line.rstrip() for line in shown.rstrip().splitlines())

  def until(self, pattern: str, *, seconds: float = 900) -> str:
    """Waits until the screen shows a pattern."""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, screen := self.screen()):
      if time.monotonic() > deadline:
        raise TimeoutError(f'{pattern!r} is not shown in:\n{screen}')
      time.sleep(0.05)
    return screen

  def until_prompt(self) -> str:
    """Waits until the shell asks for the next line."""
    return self.until(r'\$$')


if __name__ == '__main__':
  main()
