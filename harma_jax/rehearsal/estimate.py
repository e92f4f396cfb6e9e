"""The time of a TPU's program by its compiler's own estimate, and of its kernels."""

import collections
import dataclasses
from collections.abc import Mapping

from harma_jax.devices.targets import Target
from harma_jax.rehearsal.hlo import Instruction, Program, runs
from harma_jax.rehearsal.parts import PARTS, part_of
from harma_jax.rehearsal.shapes import arrays_of

CYCLES = r'"estimated_cycles":"(\d+)"'
KERNEL = 'custom_call_target="tpu_custom_call"'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
  """A Pallas kernel, whose time the compiler does not tell.

  Attributes:
    name: of the call, in the program as it was written.
    seconds: the larger of what its FLOP take at the peak and its bytes at the bandwidth
      of the device, for all times that it is run.
    runs: how often it is.
    flop: of a run; None where the kernel says nothing of its cost.
    bytes: of a run, what it says or what its arrays have.
  """

  name: str
  seconds: float
  runs: int
  flop: int | None
  bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """Of the time of a step.

  Attributes:
    seconds: in all, kernels included.
    parts: seconds by part, kernels included; see `PARTS`.
    kernels: each call of one.
  """

  seconds: float
  parts: Mapping[str, float]
  kernels: tuple[Kernel, ...]


def estimate(program: Program, target: Target) -> Estimate:
  """What a TPU's program takes on a device with a known clock."""
  parts = dict.fromkeys(PARTS, 0.0)
  for name, cycles in cycles_of(program).items():
    parts[part_of(name)] += cycles / (target.clock * 1e9)
  kernels = kernels_of(program, target)
  for kernel in kernels:
    parts[part_of(kernel.name)] += kernel.seconds
  return Estimate(seconds=sum(parts.values()), parts=parts, kernels=kernels)


def cycles_of(program: Program) -> dict[str, int]:
  """The compiler's cycles by the name of the operation, loops as often as they run."""
  found = collections.Counter()
  for instruction, times in runs(program):
    if cycles := instruction.attribute(CYCLES):
      found[instruction.op_name] += int(cycles) * times
  return dict(found)


def kernels_of(program: Program, target: Target) -> tuple[Kernel, ...]:
  """Every call of a Pallas kernel, the longest one first."""
  shapes = {
    line.name: line.shape for lines in program.computations.values() for line in lines
  }
  found = [
    _kernel(instruction, shapes, times=times, target=target)
    for instruction, times in runs(program)
    if KERNEL in instruction.attributes
  ]
  return tuple(sorted(found, key=lambda kernel: -kernel.seconds))


def _kernel(
  call: Instruction, shapes: Mapping[str, str], *, times: int, target: Target
) -> Kernel:
  flop, said = (
    call.attribute(rf'"cost_estimate":{{[^}}]*"{name}":"?(\d+)')
    for name in ('flops', 'bytes_accessed')
  )
  own = ' '.join([call.shape, *(shapes.get(name, '') for name in call.operands)])
  count = int(said or sum(array.padded_bytes for array in arrays_of(own)))
  seconds = max(int(flop or 0) / target.peak, count / target.bandwidth)
  return Kernel(
    name=call.op_name,
    seconds=seconds * times,
    runs=times,
    flop=None if flop is None else int(flop),
    bytes=count,
  )
