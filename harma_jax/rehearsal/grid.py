"""The step of a config compiled for several targets, batches and caption lengths."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.params import resolve
from harma_jax.devices.absent import prepare
from harma_jax.devices.targets import Topology
from harma_jax.errors import expect
from harma_jax.rehearsal.remedy import with_fields
from harma_jax.rehearsal.run import rehearse, remedy_of
from harma_jax.rehearsal.stage import Stage, lengths_of, read_stage
from harma_jax.rehearsal.words import summary


def measure_compiled(
  config: ConfigDict,
  *,
  topologies: Sequence[Topology],
  batches: Sequence[int] = (),
  lengths: Sequence[int] = (),
  remedy: bool = True,
) -> dict:
  """A record of each combination, as JSON has them; before jax touches devices.

  Args:
    config: of a run.
    topologies: the devices.
    batches: items of a step; none: the config's.
    lengths: tokens of the captions; none: all that a run cuts them to.
    remedy: whether settings are looked for with which a step fits that does not.

  Returns:
    `mode` and `programs`, a list of what `rehearse` finds, with a `remedy` where the
    step does not fit.

  Raises:
    UserError: a mistake in the config; a batch that the devices do not divide; a length
      that captions do not have.
  """
  prepare(topologies)
  config = resolve(config, workdir=pathlib.Path(config.init))
  found = []
  for stage, length in _combinations(config, topologies, batches, lengths):
    record = rehearse(stage, length=length)
    logging.info('%s', summary(record))
    if remedy and record['fits'] is False:
      record['remedy'] = dataclasses.asdict(remedy_of(stage, record))
    found.append(record)
  return {'mode': 'compiled', 'programs': found}


def _combinations(
  config: ConfigDict,
  topologies: Sequence[Topology],
  batches: Sequence[int],
  lengths: Sequence[int],
) -> Iterator[tuple[Stage, int]]:
  fields = [{'train.batch_size': n, 'train.batch_rounding': 'none'} for n in batches]
  for topology, batch in itertools.product(topologies, fields or [{}]):
    stage = read_stage(with_fields(config, batch), topology)
    most = stage.recipe.data.context_length
    for length in lengths or lengths_of(stage):
      what = f'at most {most}, the positions of {config.model.size}'
      expect(2 <= length <= most, 'data.context_length', what, found=length)
      yield stage, length
