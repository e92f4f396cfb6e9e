"""What devices exchange in a step, each exchange counted once."""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping

from harma_jax.rehearsal.hlo import Instruction, Program, fused, runs
from harma_jax.rehearsal.shapes import arrays_of

KINDS = (
  *('all-gather', 'all-reduce', 'all-to-all', 'collective-broadcast'),
  *('collective-permute', 'ragged-all-to-all', 'reduce-scatter'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
  """A collective of a compiled program.

  Attributes:
    kind: one of `KINDS`.
    bytes: that it takes from a device or leaves there, whichever is more, each time.
    runs: how often it runs in a step.
  """

  kind: str
  bytes: int
  runs: int


def exchanges_of(program: Program) -> tuple[Exchange, ...]:
  """Every collective with a channel of its own.

  A TPU's text repeats one that runs beside other work in each instruction that it
  overlaps with, loops included: the least nested of them tells how often it runs.
  """
  found = {}
  for instruction, shapes, times in _found(program):
    kind = instruction.opcode.removesuffix('-start')
    channel = kind, instruction.attribute(r'channel_id=(\d+)') or instruction.name
    known = found.get(channel)
    found[channel] = Exchange(
      kind=kind,
      bytes=_bytes(instruction, shapes),
      runs=min(times, known.runs) if known else times,
    )
  return tuple(found.values())


def by_kind(exchanges: tuple[Exchange, ...]) -> dict[str, dict[str, int]]:
  """`count`, `runs` and `bytes` in a step of the collectives of each kind."""
  found = collections.defaultdict(collections.Counter)
  for exchange in exchanges:
    found[exchange.kind] += {
      'count': 1,
      'runs': exchange.runs,
      'bytes': exchange.bytes * exchange.runs,
    }
  return {kind: dict(found[kind]) for kind in sorted(found)}


def _found(
  program: Program,
) -> Iterator[tuple[Instruction, Mapping[str, str], int]]:
  """Each collective with the shapes of what stands beside it and how often it runs."""
  names = re.compile(rf'({"|".join(KINDS)})(-start)?')
  shapes = {
    line.name: line.shape for lines in program.computations.values() for line in lines
  }
  for instruction, times in runs(program):
    for line in (instruction, *fused(program, instruction)):
      if names.fullmatch(line.opcode):
        yield line, shapes, times


def _bytes(instruction: Instruction, shapes: Mapping[str, str]) -> int:
  taken = sum(
    array.bytes
    for name in instruction.operands
    for array in arrays_of(shapes.get(name, ''))
  )
  left = sum(array.bytes for array in arrays_of(instruction.shape))
  if instruction.opcode.endswith('-start') and instruction.opcode != 'all-reduce-start':
    left -= taken  # it is handed on beside the result
  return max(taken, left)
