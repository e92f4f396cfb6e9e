"""An index as it is opened: all rows of all shards, whole or named."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.catalogue import write_entry
from harma_jax.search_index.index import check_model, open_index
from harma_jax.search_index.manifest import MANIFEST_FILE
from harma_jax.search_index.shards import shard_path


def test_rows_come_back_in_order_over_all_shards(made_index, unit_rows):
  features = unit_rows(12)
  index = made_index(features)
  assert len(index) == 12
  np.testing.assert_array_equal(index.features, features)
  assert [index.names[i] for i in index.file] == [f'{i:03}.png' for i in range(12)]
  assert np.isnan(index.corners).all()


def test_some_rows_are_read_alone_in_any_order(made_index, unit_rows):
  features = unit_rows(12)
  rows = [11, 0, 5, 5]
  np.testing.assert_array_equal(made_index(features).features_at(rows), features[rows])


def test_rows_of_files_that_are_gone_do_not_count(made_index, unit_rows):
  features = unit_rows(12)
  folder = made_index(features).folder
  write_entry(folder, {'001.png': None, '007.png': None}, found=10)
  index = open_index(folder)
  kept = [i for i in range(12) if i not in (1, 7)]
  np.testing.assert_array_equal(index.features, features[kept])
  np.testing.assert_array_equal(index.features_at([1, 9]), features[[2, 11]])
  assert [index.names[i] for i in index.file] == [f'{i:03}.png' for i in kept]


def test_features_of_16_bits_are_nearly_the_same_in_half_the_bytes(
  made_index, unit_rows
):
  features = unit_rows(300)
  index, whole = made_index(features, storage='int16'), made_index(features, name='f32')
  np.testing.assert_allclose(index.features, features, atol=1.1 / 32767)

  def size(made):
    return sum(part.features.values.nbytes for part in made.parts)

  assert size(index) == size(whole) / 2


def test_corners_come_back(made_index, unit_rows):
  corners = np.arange(12 * 8, dtype=np.float64).reshape(12, 4, 2)
  index = made_index(unit_rows(12), corners=corners)
  np.testing.assert_array_equal(index.corners, corners)


def test_what_was_stopped_is_searched_with_a_warning(begin, write, unit_rows, caplog):
  folder = begin()
  write(folder, unit_rows(3), found=5)
  index = open_index(folder)
  assert (len(index), index.missing) == (3, 2)
  assert 'lacks 2 of 5 images' in caplog.text


def test_another_models_query_is_refused(made_index, unit_rows):
  index = made_index(unit_rows(3))
  check_model(index, sha256='ab' * 32, width=8)
  with pytest.raises(UserError, match=r'SHA-256 abababababab, from run; found .* cdcd'):
    check_model(index, sha256='cd' * 32, width=8)


def test_what_is_no_index_is_named(begin, tmp_path):
  with pytest.raises(UserError, match=f'found {tmp_path}: FileNotFoundError'):
    open_index(tmp_path)
  with pytest.raises(UserError, match='expected images that can be read; found none'):
    open_index(begin())


def test_an_older_version_is_to_be_made_anew(begin):
  path = begin() / MANIFEST_FILE
  path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
  with pytest.raises(UserError, match=r'found .* version 1 .*anew, with another --out'):
    open_index(path.parent)


def test_a_damaged_shard_and_one_that_is_gone_are_named(begin, write, unit_rows):
  folder = begin()
  path = shard_path(folder, write(folder, unit_rows(3)))
  path.write_bytes(b'not tensors')
  with pytest.raises(UserError, match=path.name):
    open_index(folder)
  path.unlink()
  with pytest.raises(UserError, match=f'expected the shard .*{path.name}'):
    open_index(folder)


def test_images_that_moved_with_the_index_are_found(begin, write, unit_rows, tmp_path):
  (tmp_path / 'all').mkdir()
  (tmp_path / 'pictures').mkdir()
  folder = begin()
  write(folder, unit_rows(3))
  assert open_index(folder).images == (tmp_path / 'pictures').resolve()
  for name in ('index', 'pictures'):
    (tmp_path / name).rename(tmp_path / 'all' / name)
  images = open_index(tmp_path / 'all/index').images
  assert images.resolve() == (tmp_path / 'all/pictures').resolve()
