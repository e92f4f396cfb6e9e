"""Compares the selected weights of two methods on the same queries.

A method is the work folder of a run, or that of `harma-jax train --seeds`, or several
of one method with different seeds, with commas between them. Prints tables of the
differences, and last one line of JSON.

Examples:
  harma-jax compare RUN_A RUN_B
  harma-jax compare A_0,A_1 B_0,B_1 --split=test --out=FILE.json
"""

import json
from collections.abc import Sequence

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.reporting.tables import print_differences

_OUT = cli.shared_flag('out')
_SPLIT = cli.shared_flag('split')
_DATA_ROOT = cli.shared_flag('data_root')


def main(argv: Sequence[str]) -> None:
  """Compares what the command line names."""
  from harma_jax.results.comparison import KINDS, compare, runs_of

  first, second = map(runs_of, sides_of(argv[1:]))
  results = compare(first, second, splits=_SPLIT.value, data_root=_DATA_ROOT.value)
  for split, kinds in results['splits'].items():
    for kind, what in KINDS.items():
      print_differences(f'{split}: {what} in %, A and B', kinds[kind])
  print(json.dumps(results))
  if _OUT.value:
    cli.write_json(_OUT, results)


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
  cli.run(main)
