"""The index on the disk: whole or not at all, of one model, of one list of files."""

import json

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index import index as module
from harma_jax.search_index.index import (
  MANIFEST_FILE,
  check_model,
  missing_shards,
  open_index,
  shard_path,
)


def test_rows_come_back_in_order_over_all_shards(made_index, unit_rows):
  features = unit_rows(12)
  index = made_index(features)
  assert len(index) == 12
  np.testing.assert_array_equal(index.features, features)
  assert [index.names[i] for i in index.file] == [f'{i}.png' for i in range(12)]
  assert np.isnan(index.corners).all()


def test_corners_come_back(made_index, unit_rows):
  corners = np.arange(12 * 8, dtype=np.float64).reshape(12, 4, 2)
  index = made_index(unit_rows(12), corners=corners)
  np.testing.assert_array_equal(index.corners, corners)


def test_an_index_that_is_not_complete_is_refused(begin, write, unit_rows, tmp_path):
  manifest = begin(12, files_a_shard=5)
  write(manifest, unit_rows(12), numbers=[0, 2])
  assert missing_shards(tmp_path / 'index', manifest) == [1]
  with pytest.raises(UserError, match=r'all 3 shards in .*; found 1 missing'):
    open_index(tmp_path / 'index')


def test_a_shard_is_whole_or_not_there(begin, write, unit_rows, tmp_path, monkeypatch):
  def stop(tensors, path, **_):
    path.write_bytes(b'half')
    raise KeyboardInterrupt

  manifest = begin(3)
  monkeypatch.setattr(module.safetensors.numpy, 'save_file', stop)
  with pytest.raises(KeyboardInterrupt):
    write(manifest, unit_rows(3))
  assert not list((tmp_path / 'index/shards').iterdir())


def test_going_on_needs_the_same_files_model_and_tiles(begin):
  begin(3)
  begin(3, images='/moved', model_path='elsewhere')  # are free to differ
  with pytest.raises(UserError, match='n_files was 3, now 4'):
    begin(4)
  with pytest.raises(UserError, match='model_sha256 was'):
    begin(3, sha256='cd' * 32)
  with pytest.raises(UserError, match='tile was 0, now 8'):
    begin(3, tile=8)


def test_another_models_query_is_refused(made_index, unit_rows):
  index = made_index(unit_rows(3))
  check_model(index, sha256='ab' * 32, width=8)
  with pytest.raises(UserError, match=r'SHA-256 abababababab, from run; found .* cdcd'):
    check_model(index, sha256='cd' * 32, width=8)


def test_a_shard_of_another_index_is_refused(begin, write, unit_rows, tmp_path):
  features = unit_rows(3)
  write(begin(3), features)
  write(begin(3, name='other', sha256='cd' * 32), features, name='other')
  stray = shard_path(tmp_path / 'other', 0)
  stray.replace(shard_path(tmp_path / 'index', 0))
  with pytest.raises(UserError, match='belongs to another'):
    open_index(tmp_path / 'index')


def test_what_is_no_index_is_named(begin, write, unit_rows, tmp_path):
  with pytest.raises(UserError, match=f'found {tmp_path}: FileNotFoundError'):
    open_index(tmp_path)
  write(begin(3), unit_rows(3))
  path = tmp_path / 'index' / MANIFEST_FILE
  path.write_text(json.dumps(json.loads(path.read_text()) | {'version': 9}))
  with pytest.raises(UserError, match=r'found .* version 9'):
    open_index(tmp_path / 'index')


def test_a_damaged_shard_is_named(begin, write, unit_rows, tmp_path):
  write(begin(3), unit_rows(3))
  shard_path(tmp_path / 'index', 0).write_bytes(b'not tensors')
  with pytest.raises(UserError, match=r'00000\.safetensors'):
    open_index(tmp_path / 'index')


def test_a_folder_in_other_use_is_left_alone(begin, tmp_path):
  (tmp_path / 'index').mkdir()
  (tmp_path / 'index/thesis.txt').write_text('years of work')
  with pytest.raises(UserError, match=r'found .* with thesis\.txt'):
    begin(3)
  assert not (tmp_path / 'index' / MANIFEST_FILE).exists()


def test_images_that_moved_with_the_index_are_found(begin, write, unit_rows, tmp_path):
  (tmp_path / 'all').mkdir()
  (tmp_path / 'pictures').mkdir()
  write(begin(3), unit_rows(3))
  assert open_index(tmp_path / 'index').images == (tmp_path / 'pictures').resolve()
  for name in ('index', 'pictures'):
    (tmp_path / name).rename(tmp_path / 'all' / name)
  images = open_index(tmp_path / 'all/index').images
  assert images.resolve() == (tmp_path / 'all/pictures').resolve()
