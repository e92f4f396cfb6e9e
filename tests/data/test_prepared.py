"""Prepared folders as a source of tables and images: the same as what they are of."""

import concurrent.futures
import pickle

import numpy as np
import pytest

from harma_jax.data.annotations import fingerprint, load_captions
from harma_jax.data.bad_images import without_images
from harma_jax.data.images import read_image, read_size
from harma_jax.data.pixels import open_pixels
from harma_jax.data.prepared import is_prepared, read_prepared
from harma_jax.errors import UserError

SPLITS = ('train', 'val', 'test')


@pytest.mark.parametrize('split', SPLITS)
def test_the_table_is_that_of_the_source(small_data, prepared_data, split):
  table = load_captions(small_data, split=split)
  read = read_prepared(prepared_data, split=split)
  assert read.image_files == table.image_files
  assert read.captions == table.captions
  np.testing.assert_array_equal(read.caption_image, table.caption_image)
  assert not read.caption_image.flags.writeable
  assert fingerprint(read) == fingerprint(table)


def test_images_are_those_of_the_source_by_any_number_of_threads(
  small_data, prepared_data
):
  expected = open_pixels(load_captions(small_data, split='train'), side=24)
  pixels = open_pixels(read_prepared(prepared_data, split='train'), side=24, threads=4)
  rows = np.arange(12)
  for found in (pixels.take(rows), pixels.keep(threads=4).take(rows)):
    np.testing.assert_array_equal(found.images, expected.take(rows).images)
    np.testing.assert_array_equal(found.sizes, expected.take(rows).sizes)


def test_many_readers_at_once_get_their_own_images(small_data, prepared_data):
  expected = load_captions(small_data, split='train')
  table = read_prepared(prepared_data, split='train')
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda i: table.image_path(i % 12).read_bytes(), range(240)))
  assert found == [expected.image_path(i % 12).read_bytes() for i in range(240)]


def test_a_table_without_some_images_reads_the_right_ones(small_data, prepared_data):
  expected = load_captions(small_data, split='train')
  left = without_images(read_prepared(prepared_data, split='train'), [0, 5])
  for row, old in enumerate(row for row in range(12) if row not in (0, 5)):
    assert left.image_path(row).read_bytes() == expected.image_path(old).read_bytes()


def test_a_table_can_be_sent_to_another_process(prepared_data):
  table = read_prepared(prepared_data, split='val')
  before = table.image_path(3).read_bytes()
  assert pickle.loads(pickle.dumps(table)).image_path(3).read_bytes() == before


def test_messages_name_the_folder_and_the_file_of_the_source(prepared_data):
  image = read_prepared(prepared_data, split='val').image_path(2)
  assert str(image) == f'{prepared_data}/val_2.png'
  for read in (read_image, read_size):
    with pytest.raises(UserError, match=r'/val_2\.png: .*more than max_pixels'):
      read(image, max_pixels=10)


def test_a_prepared_folder_is_told_by_its_content(small_data, prepared_data, tmp_path):
  assert is_prepared(prepared_data)
  assert not is_prepared(small_data)
  (tmp_path / 'incomplete').mkdir()
  assert is_prepared(tmp_path)
  with pytest.raises(UserError, match='data prepare'):
    read_prepared(tmp_path, split='train')


def test_an_unknown_split_is_refused(prepared_data):
  with pytest.raises(UserError, match=r"expected split 'dev'; found only train, val"):
    read_prepared(prepared_data, split='dev')
