"""Compares this installation with the original implementation.

The file holds weights under the original's names, inputs, and what the original
computed from them: hidden states, features, losses, gradients, six optimizer steps.
Every quantity is computed again; prints as JSON for each `max_abs_error`,
`max_rel_error` and `ok`, and exits 0 only if all agree, 1 if one does not, 2 if the
file cannot be read.

Examples:
  harma-jax parity FILE.npz
  harma-jax parity FILE.npz > agreement.json
"""

import json
from collections.abc import Sequence

from harma_jax import cli
from harma_jax.errors import UserError


def main(argv: Sequence[str]) -> int:
  """Compares the file that the command line names; 0 where all agrees, else 1."""
  from harma_jax.reference.agreement import compare
  from harma_jax.reference.file import read_reference

  if len(argv) != 2:
    raise UserError(
      f'Expected one argument, python -m harma_jax.parity FILE.npz; found {argv[1:]}.'
    )
  report = compare(read_reference(argv[1]))
  print(json.dumps(report, indent=2))
  return 0 if all(row['ok'] for row in report.values()) else 1


if __name__ == '__main__':
  cli.run(main)
