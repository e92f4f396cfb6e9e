"""Compares the selected weights of two methods on the same queries.

A method is the work folder of a run, or that of `harma-jax train --seeds`, or several
of one method with different seeds, with commas between them. Prints tables of the
differences.

Examples:
  harma-jax compare RUN_A RUN_B
  harma-jax compare A_0,A_1 B_0,B_1 --split=test --out=FILE.json
"""

import functools
from collections.abc import Mapping, Sequence

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.reporting.tables import print_differences
from harma_jax.rundir.names import distinct_names

cli.shared_flag('out')
cli.shared_flag('json')
_SPLIT = cli.shared_flag('split')
_DATA_ROOT = cli.shared_flag('data_root')


def main(argv: Sequence[str]) -> None:
  """Compares what the command line names."""
  from harma_jax.results.comparison import compare, runs_of

  sides = sides_of(argv[1:])
  first, second = map(runs_of, sides)
  results = compare(first, second, splits=_SPLIT.value, data_root=_DATA_ROOT.value)
  names = names_of(sides)
  cli.answer(results, functools.partial(show, results, names=names))


def show(results: Mapping, *, names: tuple[str, str]) -> None:
  """Prints what `compare` found of two methods of these names."""
  from harma_jax.results.comparison import KINDS

  for split, kinds in results['splits'].items():
    for kind, what in KINDS.items():
      print_differences(f'{split}: {what} in %', kinds[kind], names=names)


def names_of(sides: Sequence[Sequence[str]]) -> tuple[str, str]:
  """What to call two methods: the ends of their paths, as long as tells them apart."""
  names = distinct_names([side[0] for side in sides])
  more = [f' and {len(side) - 1} more' if side[1:] else '' for side in sides]
  return tuple(name + rest for name, rest in zip(names, more, strict=True))


def sides_of(arguments: Sequence[str]) -> list[list[str]]:
  """The work folders of both methods, from the words of the command line.

  Raises:
    UserError: not two, or a name that is empty.
  """
  sides = [argument.split(',') for argument in arguments]
  if len(sides) != 2 or not all(map(all, sides)):
    raise UserError(
      'Expected RUN_A RUN_B, each a work folder or several with commas between them; '
      f'found {" ".join(arguments) or "none"}. Give two.'
    )
  return sides


if __name__ == '__main__':
  cli.run(main, compiles=True)
