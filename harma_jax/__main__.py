"""The program `harma-jax`, also `python -m harma_jax`: starts the command it is told.

It imports no library: its own help comes at once.
"""

import runpy
import sys

from harma_jax import __version__
from harma_jax.errors import did_you_mean

# The module that each runs, and the first line of what that says of itself.
COMMANDS = {
  'train': ('harma_jax.main', 'Trains on captioned images, and evaluates.'),
  'evaluate': (
    'harma_jax.evaluate',
    'Evaluates a run again, and what it started from.',
  ),
  'compare': (
    'harma_jax.compare',
    'Compares the selected weights of two methods on the same queries.',
  ),
  'report': ('harma_jax.report', 'Writes a run, or several, as one HTML page.'),
  'conflicts': (
    'harma_jax.conflicts',
    'Shows the captions whose gradients conflict most: maybe wrong ones.',
  ),
  'export': (
    'harma_jax.export',
    'Writes the selected weights of a run for other programs.',
  ),
  'search': (
    'harma_jax.search',
    'Searches a folder of images by text or by an image.',
  ),
  'classify': (
    'harma_jax.classify',
    'Classifies images by the names of their classes, without training.',
  ),
  'bench': (
    'harma_jax.bench',
    'Measures the speed of a config: its step, input and evaluation.',
  ),
  'parity': (
    'harma_jax.parity',
    'Compares this installation with the original implementation.',
  ),
  'data': ('harma_jax.data', 'Prepares and checks folders of captioned images.'),
}

MISTAKE = 2


def main() -> int:
  """Starts the command that the first word names, as `python -m` starts its module.

  Returns:
    The exit code where no command was started; a command exits with its own.
  """
  word = sys.argv[1] if len(sys.argv) > 1 else ''
  if word in ('--help', '-h'):
    print(program_help())
    return 0
  if word == '--version':
    print(f'harma_jax {__version__}')
    return 0
  if word not in COMMANDS:
    print(f'error: {unknown_command(word)}', file=sys.stderr)
    return MISTAKE
  del sys.argv[1]
  module, _ = COMMANDS[word]
  runpy.run_module(module, run_name='__main__', alter_sys=True)
  return 0


def program_help() -> str:
  """What the program is for, and its commands with a line each."""
  lines = (f'  {name:11}{what}' for name, (_, what) in COMMANDS.items())
  return '\n'.join(
    [
      'Adapts a frozen CLIP to satellite and aerial images; searches them by text.',
      '',
      'Use: harma-jax COMMAND --flags..., or the same with python -m harma_jax',
      '',
      *lines,
      '',
      'harma-jax COMMAND --help shows what a command does, two examples and its flags.',
    ]
  )


def unknown_command(word: str) -> str:
  """The message where the first word, '' for none, is no command."""
  found = f'{word}.{did_you_mean(word, COMMANDS)}' if word else 'none.'
  return (
    f'Expected a command, one of {", ".join(COMMANDS)}; found {found} '
    'harma-jax --help says what they do.'
  )


if __name__ == '__main__':
  sys.exit(main())
