"""Eight virtual devices, strict ranks, and the folders that hold real data."""

import os
import pathlib

import jax
import pytest
from absl import flags

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
flags.FLAGS.mark_as_parsed()

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
