"""Shards put together: the same rows, fewer files, whole at any moment."""

import numpy as np
import pytest

from harma_jax.search_index import compaction as module
from harma_jax.search_index.catalogue import read_catalogue, write_entry
from harma_jax.search_index.compaction import compact, tidy
from harma_jax.search_index.index import open_index
from harma_jax.search_index.shards import shard_names


def rows_of(folder):
  """Name, feature, box and corners of all rows, sorted: what must stay."""
  index = open_index(folder)
  names = (index.names[file] for file in index.file)
  values = zip(names, index.features, index.boxes, index.corners, strict=True)
  rows = [(name, *(array.tolist() for array in arrays)) for name, *arrays in values]
  return str(sorted(rows, key=lambda row: row[0]))


@pytest.fixture(params=['float32', 'int16'])
def many(request, begin, write, unit_rows):
  """The folder of an index of 40 rows in ten shards, the third with places."""
  folder = begin(storage=request.param)
  features = unit_rows(40)
  for start in range(0, 40, 4):
    corners = np.ones((4, 4, 2)) * start if start == 8 else None
    part = features[start : start + 4]
    write(folder, part, first=start, corners=corners, storage=request.param)
  return folder


def test_small_shards_are_put_together(many):
  before = rows_of(many)
  assert compact(many) == 10
  assert len(shard_names(many)) == 1
  assert len(read_catalogue(many).entries) == 1
  assert rows_of(many) == before
  assert compact(many) == 0


def test_what_results_is_not_too_large(many, monkeypatch):
  monkeypatch.setattr(module, 'LARGE', 9)
  before = rows_of(many)
  compact(many)
  assert len(shard_names(many)) == 5
  assert rows_of(many) == before


def test_a_shard_with_many_dead_rows_is_written_anew(many, monkeypatch):
  monkeypatch.setattr(module, 'MOST_SMALL', 100)
  write_entry(many, dict.fromkeys(['000.png', '004.png', '006.png']), found=37)
  before = rows_of(many)
  assert compact(many) == 1  # of two more than a quarter is dead in one alone
  assert rows_of(many) == before
  index = open_index(many)
  assert sum(len(part.features.values) for part in index.parts) == 38


def test_a_reader_that_opened_the_old_shards_keeps_them(many):
  index = open_index(many)
  first = np.array(index.features_at(np.arange(40)))
  compact(many)
  np.testing.assert_array_equal(index.features_at(np.arange(40)), first)


@pytest.mark.parametrize('moment', ['write_entry', 'condense', 'tidy'])
def test_it_may_be_stopped_at_any_moment(many, monkeypatch, moment):
  def stop(*_, **__):
    raise KeyboardInterrupt

  before = rows_of(many)
  with monkeypatch.context() as patch:
    patch.setattr(module, moment, stop)
    with pytest.raises(KeyboardInterrupt):
      compact(many)
  assert rows_of(many) == before
  compact(many)
  assert rows_of(many) == before
  assert len(shard_names(many)) == 1


def test_what_killed_programs_left_is_removed(many):
  left = [
    many / f'.manifest.json.{"0" * 32}',
    many / 'shards' / f'.0000000011-ab.safetensors.{"1" * 32}',
    many / 'shards/.tmpBrRY3h',
    many / 'shards/0000000012-abcdef.safetensors',
    many / 'catalogue' / f'.0000000011-ab.json.{"2" * 32}',
  ]
  for path in left:
    path.write_bytes(b'half')
  tidy(many)
  assert [path for path in left if path.exists()] == []
  assert len(open_index(many)) == 40
