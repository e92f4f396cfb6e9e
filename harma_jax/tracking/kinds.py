"""The trackers that there are, and which are installed; none is imported here."""

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from harma_jax.errors import UserError, did_you_mean


class Kind(NamedTuple):
  """Where a tracker is.

  Attributes:
    module: of ours, with `open_tracker`.
    package: what it imports.
  """

  module: str
  package: str


# By their names on the command line, which are those of the extras to install.
KINDS = {
  'tensorboard': Kind('harma_jax.tracking.to_tensorboard', 'tensorboardX'),
  'wandb': Kind('harma_jax.tracking.to_wandb', 'wandb'),
  'trackio': Kind('harma_jax.tracking.to_trackio', 'trackio'),
  'mlflow': Kind('harma_jax.tracking.to_mlflow', 'mlflow'),
}


def parse_trackers(words: Sequence[str]) -> tuple[str, ...]:
  """The trackers of `--tracker=tensorboard,wandb`, each once.

  Raises:
    UserError: one is not known, or not installed.
  """
  for word in words:
    if word not in KINDS:
      raise UserError(
        f'--tracker: expected names of {", ".join(KINDS)}, with commas between; found '
        f'{word!r}.{did_you_mean(word, KINDS)}'
      )
  missing = [word for word in words if not _is_installed(KINDS[word].package)]
  if missing:
    raise UserError(
      f'--tracker={",".join(words)}: expected trackers that are installed; found no '
      f'{", ".join(KINDS[word].package for word in missing)}. '
      f"pip install 'harma_jax[{','.join(missing)}]', or leave it out."
    )
  return tuple(dict.fromkeys(words))


def module_of(name: str) -> ModuleType:
  """Our module of a tracker, with `open_tracker`; imports what it needs."""
  return importlib.import_module(KINDS[name].module)


def _is_installed(package: str) -> bool:
  return importlib.util.find_spec(package) is not None
