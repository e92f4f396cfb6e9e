"""More epochs than a run was started with: where what is trained is the same so far."""

import pathlib
import shlex
from collections.abc import Mapping, Sequence

EPOCHS = 'train.epochs'


def asks_for_more(old: Mapping, new: Mapping) -> bool:
  """Whether fields of a config, by dotted name, ask for more epochs than older ones."""
  return new[EPOCHS] > old[EPOCHS]


def planned_over_all(fields: Mapping) -> list[str]:
  """The fields that spread something over all steps, as `name=value`.

  Where there are some, the steps so far were others than those of a longer run.
  """
  names = [] if fields['optimizer.schedule'] == 'constant' else ['optimizer.schedule']
  names += ['optimizer.warmup'] if fields['optimizer.warmup'] else []
  if fields['harmonization.pair'] != 'none':
    shares = ('harmonization.start', 'harmonization.anneal')
    names += [name for name in shares if fields[name]]
  return [f'{name}={fields[name]}' for name in names]


def advice(workdir: pathlib.Path, planned: Sequence[str]) -> str:
  """What to do for more epochs where `planned_over_all` found some fields."""
  return (
    f' For more epochs: {", ".join(planned)} spread over all of them, so that this run '
    'cannot go on; start another from its selected weights, with '
    f'--config.init={shlex.quote(str(workdir))} and another --workdir.'
  )
