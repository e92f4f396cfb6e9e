"""The model that a reference file is of, and the original's names of its weights."""

from collections.abc import Iterator

import jax
import numpy as np

from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import Size, TowerSize
from harma_jax.weights.names import Name, give, names_of, paths_of


def model_of(meta: dict) -> Clip:
  """The model that a reference file is of, by its `meta`."""
  image, text, adapter = meta['vision_cfg'], meta['text_cfg'], meta['adapter']
  size = Size(
    image=TowerSize(
      width=image['width'],
      layers=image['layers'],
      heads=image['width'] // image['head_width'],
    ),
    text=TowerSize(width=text['width'], layers=text['layers'], heads=text['heads']),
    image_size=image['image_size'],
    patch_size=image['patch_size'],
    embedding=meta['embed_dim'],
    activation='quick_gelu' if meta['quick_gelu'] else 'gelu',
    context_length=text['context_length'],
    vocabulary=text['vocab_size'],
  )
  settings = AdapterSettings(
    bottleneck=adapter['bottleneck'],
    shared_bottleneck=adapter['shared_bottleneck'],
    heads=adapter['heads'],
  )
  return Clip(size=size, adapter=settings, shared_adapter=meta['sharing'])


def reference_names(model: Clip) -> list[Name]:
  """The original's names of all weights of a model."""
  return names_of(
    paths_of(jax.eval_shape(model.init, jax.random.key(0))),
    image_layers=model.size.image.layers,
    text_layers=model.size.text.layers,
    shared_adapter=model.shared_adapter,
    layout='harma',
  )


def renamed(
  tree: dict, *, names: list[Name], patch: int
) -> Iterator[tuple[str, np.ndarray]]:
  """The leaves of `tree` under the original's names, aliases included."""
  leaves = paths_of(tree)
  ours = [name for name in names if name.path in leaves]
  yield from give(ours, leaves, patch=patch).items()
