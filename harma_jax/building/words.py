"""A config in a few words, for the screen."""

import pathlib

from ml_collections import ConfigDict

from harma_jax.weights.card import KINDS


def data_in_words(config: ConfigDict) -> str:
  """What the data of a run are called: their folder, or what is drawn."""
  style = config.data.scenes.style
  return f'{style} scenes' if style else pathlib.Path(config.data.root).name


def model_in_words(config: ConfigDict) -> str:
  """The size of a run's model, what is added to it, and what trains."""
  kind = KINDS[config.model.adapters]
  return f'{config.model.size} {kind}; trains: {config.optimizer.train}'
