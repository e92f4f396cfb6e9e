"""Indexes made of features that are given, without any model."""

import dataclasses

import numpy as np
import pytest

from harma_jax.search_index.catalogue import File, write_entry
from harma_jax.search_index.index import open_index
from harma_jax.search_index.manifest import claim, make_manifest
from harma_jax.search_index.shards import Shard, store, write_shard


@pytest.fixture(scope='session')
def unit_rows():
  """`unit_rows(n)`: f32[n, 8] of length 1."""

  def make(n, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

  return make


@pytest.fixture
def begin(tmp_path):
  """`begin()`: the folder of an index that is empty so far."""

  def make(
    *, name='index', sha256='ab' * 32, path='run', tile=0, images='pictures', **changes
  ):
    folder = tmp_path / name
    settings = {
      'images': tmp_path / images,
      'model': {'model_sha256': sha256, 'model_path': path},
      'preprocessing': {'side': 16},
      'tiles': [(tile, tile)],
      'storage': 'float32',
    }
    claim(folder, make_manifest(folder, **(settings | changes)))
    return folder

  return make


@pytest.fixture
def write():
  """`write(folder, features)`: one shard and its entry, a row a file."""

  def make(
    folder,
    features,
    *,
    first=0,
    corners=None,
    boxes=None,
    storage='float32',
    found=None,
  ):
    n = len(features)
    boxes = (
      np.tile(np.array([[0, 0, 4, 4]], np.int32), (n, 1)) if boxes is None else boxes
    )
    shard = Shard(store(features, storage=storage), boxes, corners)
    name = write_shard(folder, shard)
    file = File(size=1, mtime_ns=1, shard=name, rows=1)
    files = {
      f'{first + i:03}.png': dataclasses.replace(file, start=i) for i in range(n)
    }
    write_entry(folder, files, found=first + n if found is None else found)
    return name

  return make


@pytest.fixture
def made_index(begin, write):
  """`made_index(features)`: opened; five rows a shard."""

  def make(
    features, *, corners=None, boxes=None, name='index', storage='float32', tile=0
  ):
    folder = begin(name=name, storage=storage, tile=tile)
    for start in range(0, len(features), 5):
      part = slice(start, start + 5)
      write(
        folder,
        features[part],
        first=start,
        corners=None if corners is None else corners[part],
        boxes=None if boxes is None else boxes[part],
        storage=storage,
      )
    return open_index(folder)

  return make
