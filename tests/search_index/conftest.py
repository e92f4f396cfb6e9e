"""Indexes made of features that are given, without any model."""

import numpy as np
import pytest

from harma_jax.search_index.index import (
  Shard,
  claim,
  make_manifest,
  open_index,
  shard_count,
  shard_path,
  write_shard,
)


@pytest.fixture(scope='session')
def unit_rows():
  """`unit_rows(n)`: f32[n, 8] of length 1."""

  def make(n, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

  return make


@pytest.fixture
def begin(tmp_path):
  """`begin(n)`: the manifest of an index of n files that are not read."""

  def make(n, *, name='index', sha256='ab' * 32, tile=0, **changes):
    manifest = make_manifest(
      tmp_path / name,
      [f'{i}.png' for i in range(n)],
      images=tmp_path / 'pictures',
      model={'model_sha256': sha256, 'model_path': 'run'},
      preprocessing={'side': 16},
      tile=tile,
      stride=tile,
    )
    claim(tmp_path / name, manifest | changes)
    return manifest | changes

  return make


@pytest.fixture
def write(tmp_path):
  """`write(manifest, features)`: the shards of given features, a row a file."""

  def make(manifest, features, *, numbers=None, name='index', corners=None):
    size = manifest['files_a_shard']
    for number in range(shard_count(manifest)) if numbers is None else numbers:
      part = slice(number * size, (number + 1) * size)
      rows = features[part]
      shard = Shard(
        features=rows,
        file=np.arange(len(rows), dtype=np.int32),
        boxes=np.tile(np.array([[0, 0, 4, 4]], np.int32), (len(rows), 1)),
        corners=None if corners is None else corners[part],
        names=[f'{i}.png' for i in range(number * size, number * size + len(rows))],
        skipped={},
      )
      write_shard(shard_path(tmp_path / name, number), shard, manifest=manifest)

  return make


@pytest.fixture
def made_index(tmp_path, begin, write):
  """`made_index(features)`: opened; five files a shard."""

  def make(features, *, corners=None, name='index'):
    manifest = begin(len(features), name=name, files_a_shard=5)
    write(manifest, features, corners=corners, name=name)
    return open_index(tmp_path / name)

  return make
