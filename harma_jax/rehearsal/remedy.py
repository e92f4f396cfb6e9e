"""The setting that would make a step fit: found by compiling, not by guessing."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import logging
from ml_collections import ConfigDict

from harma_jax.errors import UserError
from harma_jax.model.transformer import REMAT
from harma_jax.rehearsal.words import gibibytes, of_available

Fields = Mapping[str, object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remedy:
  """What was tried for a step that does not fit.

  Attributes:
    fields: of the config, with which it fits; None where none was found.
    needed: bytes of a device with them.
    in_vain: what does not fit.
  """

  fields: Fields | None
  needed: int | None
  in_vain: tuple[Fields, ...]

  def __str__(self) -> str:
    vain = '; '.join(map(in_flags, self.in_vain))
    if self.fields is None:
      return f'Compiled, and did not fit either: {vain}. Take more or larger devices.'
    also = f' Not enough: {vain}.' if vain else ''
    return (
      f'What was compiled and fits, in {gibibytes(self.needed)}: '
      f'{in_flags(self.fields)}.{also}'
    )


def find_remedy(
  config: ConfigDict,
  *,
  devices: int,
  compile_with: Callable[[ConfigDict], dict],
  excess: float,
) -> Remedy:
  """The first of `candidates` with which the step fits.

  Args:
    config: of a stage that does not fit.
    devices: how many there are.
    compile_with: the record of the step of a config; UserError where that is none.
    excess: what the step needs, over what there is.
  """
  in_vain = []
  for fields in candidates(config, devices=devices, excess=excess):
    try:
      record = compile_with(with_fields(config, fields))
    except UserError:  # as a batch that the devices do not divide
      continue
    logging.info('%s: %s', in_flags(fields), of_available(record))
    if record['fits']:
      return Remedy(
        fields=fields, needed=record['needed_bytes'], in_vain=tuple(in_vain)
      )
    in_vain.append(fields)
  return Remedy(fields=None, needed=None, in_vain=tuple(in_vain))


def candidates(
  config: ConfigDict, *, devices: int, excess: float
) -> Iterator[dict[str, object]]:
  """Fields to try, in order: what costs a run least first, and changes it least.

  More is recomputed; the towers run a part of the batch at a time; the batch is
  smaller, which changes what is learned; the weights are cut over devices. What has not
  been enough alone stays.
  """
  base = {}
  for policy in _policies(config.model.remat):
    base = {'model.remat': policy}
    yield base
  batch = config.train.batch_size
  if 'microbatch' in config.train:
    now = config.train.microbatch or batch
    for size in _parts(batch, below=now, multiple=devices, excess=excess):
      yield base | {'train.microbatch': size}
  for size in _halves(batch, multiple=devices, excess=excess):
    yield base | {'train.batch_size': size}
  shards = [n for n in _divisors(devices) if n > config.mesh.fsdp]
  for n in shards[-1:]:
    yield base | {'mesh.fsdp': n}


def with_fields(config: ConfigDict, fields: Fields) -> ConfigDict:
  """A copy of a config with other values in these fields."""
  changed = config.copy_and_resolve_references()
  changed.update_from_flattened_dict(dict(fields))
  return changed


def in_flags(fields: Fields) -> str:
  """As one types them."""
  return ' '.join(f'--config.{name}={value}' for name, value in fields.items())


def _policies(now: str) -> Sequence[str]:
  """The ways to recompute that remember less than this one, most memory first."""
  named = [policy for policy in REMAT if policy != 'auto']
  return named[named.index(now) + 1 :] if now in named else named[1:]


def _parts(batch: int, *, below: int, multiple: int, excess: float) -> list[int]:
  """Sizes of 2, 4, ... even parts of a batch, the one that should fit first."""
  sizes, count = [], 2
  while not sizes or sizes[-1] > multiple:
    sizes.append(math.ceil(batch / count / multiple) * multiple)
    count *= 2
  near = [n for n in sizes if n < below and n <= below / max(excess, 1)]
  return near[:3] or [n for n in sizes if n < below][-1:]


def _halves(batch: int, *, multiple: int, excess: float) -> list[int]:
  """Smaller batches that the devices divide, half and half again."""
  sizes, size = [], batch // 2
  while size >= multiple:
    sizes.append(size // multiple * multiple)
    size //= 2
  near = [n for n in sizes if n <= batch / max(excess, 1)]
  return near[:3] or sizes[-1:]


def _divisors(number: int) -> list[int]:
  return [n for n in range(1, number + 1) if number % n == 0]
