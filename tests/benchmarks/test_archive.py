"""The archive of 60 scenes, read as an index reads it, without a model."""

import dataclasses

import numpy as np
import pytest

from harma_jax.raster.how import DEFAULT
from harma_jax.search_index.build import build_index
from harma_jax.search_index.index import open_index

pytest.importorskip('rasterio')
archive = pytest.importorskip('benchmarks.archive')
from benchmarks.archive_scenes import make_archive  # noqa: E402
from benchmarks.commands import Printed  # noqa: E402

MODEL = {'model_sha256': '0' * 64, 'model_path': 'none'}


def encode(images):
  """Mean colours as unit features."""
  colors = images.reshape(len(images), -1, 3).mean(axis=1) + 1.0
  return (colors / np.linalg.norm(colors, axis=1, keepdims=True)).astype(np.float32)


def indexed(folder):
  build_index(
    folder / 'scenes',
    folder / 'index',
    encode=encode,
    model=MODEL,
    preprocessing={'side': 8, **DEFAULT._asdict()},
    batch_size=16,
    tiles=[(archive.TILE, archive.STRIDE)],
  )
  return open_index(folder / 'index')


def wrong(index, scenes):
  rows = archive.rows_of(index, scenes, said=Printed(0, '', ''))
  return [row.name for row in rows if not row.is_right]


def test_each_scene_is_read_as_it_was_drawn_and_placed(tmp_path):
  scenes = make_archive(tmp_path / 'scenes')
  index = indexed(tmp_path)
  assert len(scenes) == 60
  assert wrong(index, scenes) == []
  name = 'plain/drawing.png'
  mirrored = dataclasses.replace(scenes[name], colors=scenes[name].colors[:, ::-1])
  elsewhere = dataclasses.replace(scenes['places/rpc.tif'], centre=(11, 49))
  others = {name: mirrored, 'places/rpc.tif': elsewhere}
  assert wrong(index, {**scenes, **others}) == sorted(others)
  scenes = archive.changed(tmp_path / 'scenes', scenes)
  assert wrong(indexed(tmp_path), scenes) == []
