"""Eight virtual devices, strict ranks, toy models, and the folders with real data."""

import os
import pathlib

import jax
import numpy as np
import pytest
from absl import flags

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
flags.FLAGS.mark_as_parsed()

from harma_jax.model.adapter import AdapterSettings  # noqa: E402, after the settings
from harma_jax.model.clip import Clip  # noqa: E402
from harma_jax.model.sizes import Size, TowerSize  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def _folder(*, variable: str, default: str) -> pathlib.Path:
  folder = pathlib.Path(os.environ.get(variable, REPOSITORY / default))
  if not folder.is_dir():
    pytest.skip(f'no folder {folder}: set {variable} to the folder that holds it')
  return folder


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
  """Folder with `rsicd/` and `rsitmd_sample/`; research data, not distributed."""
  return _folder(variable='HARMA_DATA', default='../shared/data')


@pytest.fixture(scope='session')
def reference_dir() -> pathlib.Path:
  """Folder with the golden arrays of the original implementation."""
  return _folder(variable='HARMA_REFERENCE', default='../shared/reference')


@pytest.fixture(scope='session')
def make_clip():
  """`make_clip(image_layers=2, text_layers=2, activation='gelu', **of_clip)`, a toy."""

  def make(*, image_layers=2, text_layers=2, activation='gelu', **settings):
    size = Size(
      image=TowerSize(width=16, layers=image_layers, heads=2),
      text=TowerSize(width=12, layers=text_layers, heads=3),
      image_size=16,
      patch_size=8,
      embedding=8,
      activation=activation,
      context_length=7,
      vocabulary=50,
    )
    adapter = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)
    return Clip(**{'size': size, 'adapter': adapter} | settings)

  return make


@pytest.fixture(scope='session')
def random_params():
  """`random_params(clip, seed=0)`: random content everywhere, no zeros to hide behind."""

  def fill(path, leaf, rng):
    name = path[-1].key
    if name == 'temperature':
      return np.float32(0.07)
    deviation = leaf.shape[-2] ** -0.5 if name == 'kernel' else 0.3
    noise = rng.normal(0, deviation, leaf.shape)
    return (noise + (name == 'scale')).astype(np.float32)

  def make(clip, *, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(clip.init, jax.random.key(0))
    return jax.tree.map_with_path(lambda path, leaf: fill(path, leaf, rng), shapes)

  return make


@pytest.fixture(scope='session')
def toy_batch():
  """Eight pairs for the toys: images u8, tokens of 3 to 7 words, some images twice."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, 48, (8, 7)).astype(np.int32)
  for row, length in zip(tokens, (3, 4, 5, 7, 4, 6, 5, 3), strict=True):
    row[0], row[length - 1], row[length:] = 48, 49, 0
  return {
    'images': rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8),
    'tokens': tokens,
    'image_ids': np.array([0, 1, 2, 0, 3, 4, 4, 5], np.int32),
  }
