"""What is found of a compiled step, as JSON has it."""

import dataclasses

from harma_jax.devices.targets import Target, Topology
from harma_jax.rehearsal.collectives import by_kind, exchanges_of
from harma_jax.rehearsal.estimate import Estimate, estimate
from harma_jax.rehearsal.hlo import read_program
from harma_jax.rehearsal.kept import kept_bytes
from harma_jax.rehearsal.step import Compiled


def record_of(
  compiled: Compiled,
  *,
  topology: Topology,
  compiler: str | None,
  pairs: int,
  flop_per_pair: float | None,
) -> dict:
  """Everything that one program tells.

  Args:
    compiled: for the devices of `topology`, or for as many CPUs.
    topology: that was asked for.
    compiler: whose program it is; None for that of CPUs, which tells no time of the
      topology and not whether it fits.
    pairs: of a step.
    flop_per_pair: by the project's count.

  Returns:
    `fits` (null where nobody knows), whether the compiler `refused` it, `needed_bytes`
    and `available_bytes` of a device; `memory` in bytes by kind; `flop_per_pair`;
    `estimated_seconds` of a step, its `parts` and `kernels`, and `share_of_peak`, null
    where nobody tells; `collectives` by kind; seconds that lowering and compilation
    took.
  """
  program = read_program(compiled.text) if compiled.text else None
  time = None
  if compiler and program and topology.target.clock:
    time = estimate(program, topology.target)
  return {
    **_fit(compiled, target=topology.target if compiler else None),
    'memory': _memory(compiled, kept=kept_bytes(program) if program else None),
    'flop_per_pair': flop_per_pair,
    **_time(time, topology, flop=flop_per_pair and flop_per_pair * pairs),
    'collectives': by_kind(exchanges_of(program)) if program else None,
    'lowering_seconds': round(compiled.lowering_seconds, 1),
    'compile_seconds': round(compiled.compile_seconds, 1),
  }


def _fit(compiled: Compiled, *, target: Target | None) -> dict:
  """Whether a device of the target has room; with None nobody knows."""
  available = target and target.memory
  if refusal := compiled.refusal:
    return {
      'fits': False,
      'refused': True,
      'needed_bytes': refusal.needed,
      'available_bytes': refusal.available or available,
    }
  needed, fits = compiled.memory.total, None
  if target:
    # A TPU's compiler refuses what does not fit; a GPU's compiles it all the same.
    fits = target.platform == 'tpu' or needed <= available
  return {
    'fits': fits,
    'refused': False,
    'needed_bytes': needed,
    'available_bytes': available,
  }


def _memory(compiled: Compiled, *, kept: int | None) -> dict:
  """Bytes of a device by kind, and as the compiler divides them."""
  found, memory = dict(compiled.held), compiled.memory
  if memory is None:
    return found
  held = sum(compiled.held.values())
  peak = min(memory.peak or memory.total, memory.total)
  kept = max(min(kept, peak - held), 0)
  return {
    **found,
    'kept_for_backward': kept,
    'rest': peak - held - kept,
    'gaps': memory.total - peak if memory.peak else None,
    **dataclasses.asdict(memory),
  }


def _time(time: Estimate | None, topology: Topology, *, flop: float | None) -> dict:
  if time is None:
    return dict.fromkeys(('estimated_seconds', 'share_of_peak', 'parts', 'kernels'))
  peak = topology.target.peak * topology.count
  return {
    'estimated_seconds': time.seconds,
    'share_of_peak': flop and flop / (time.seconds * peak),
    'parts': dict(time.parts),
    'kernels': [dataclasses.asdict(kernel) for kernel in time.kernels],
  }
