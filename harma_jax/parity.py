"""Compares this installation with the original implementation.

The file holds weights under the original's names, inputs, and what the original
computed from them: hidden states, features, losses, gradients, six optimizer steps.
Every quantity is computed again; prints how far each is off, and a verdict as the last
line; exits 0 only if all agree, 1 if one does not, 2 if the file cannot be read. JSON
has `max_abs_error`, `max_rel_error` and `ok` of each.

Examples:
  harma-jax parity FILE.npz
  harma-jax parity FILE.npz --out=agreement.json
"""

import functools
from collections.abc import Mapping, Sequence

from harma_jax import cli
from harma_jax.errors import UserError

cli.shared_flag('out')
cli.shared_flag('json')


def main(argv: Sequence[str]) -> int:
  """Compares the file that the command line names; 0 where all agrees, else 1."""
  from harma_jax.reference.agreement import compare
  from harma_jax.reference.file import read_reference

  if len(argv) != 2:
    raise UserError(
      f'Expected one argument, python -m harma_jax.parity FILE.npz; found {argv[1:]}.'
    )
  report = compare(read_reference(argv[1]))
  cli.answer(report, functools.partial(show, report))
  return 0 if all(row['ok'] for row in report.values()) else 1


def show(report: Mapping[str, Mapping]) -> None:
  """Prints a line for each quantity, and the verdict."""
  for name, row in report.items():
    state = 'agrees' if row['ok'] else 'DIFFERS'
    print(f'{state:8}{row["max_rel_error"]:9.1e}  {name}')
  print(verdict(report))


def verdict(report: Mapping[str, Mapping]) -> str:
  """How many quantities agree, and which is furthest off."""
  wrong = [name for name, row in report.items() if not row['ok']]
  furthest = max(report, key=lambda name: report[name]['max_rel_error'])
  off = f'{furthest} by {report[furthest]["max_rel_error"]:.1e} of its largest entry'
  if wrong:
    return f'{len(wrong)} of {len(report)} quantities differ; furthest off: {off}'
  return f'all {len(report)} quantities agree with the original; furthest off: {off}'


if __name__ == '__main__':
  cli.run(main)
