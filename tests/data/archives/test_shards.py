"""Which shards a source has, in which order, and the splits they name."""

import pytest

from harma_jax.data.archives.shards import (
  PAIRS,
  PARQUET,
  TAR,
  ZIP,
  find_shards,
  names_archives,
  split_named,
)
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('name', 'split'),
  [
    ('train-00000-of-00010', 'train'),
    ('data/validation-00000-of-00001', 'val'),
    ('pub11-val-0003', 'val'),
    ('train_data/test/00001', 'test'),
    ('RSICD-TEST', 'test'),
    ('constraint/00001', ''),
    ('00001', ''),
  ],
)
def test_splits_are_words_of_the_name(name, split):
  assert split_named(name) == split


def brief(shards):
  return [(each.label, each.kind, each.split) for each in shards]


def test_the_shards_of_a_folder_in_order(archives, tmp_path):
  for name in ('val/00001.tar', 'train/00001.tar', 'train/00000.tar.gz', '.x/2.tar'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    archives['tar'](tmp_path / name, [])
  (tmp_path / 'train/00000.parquet').write_text('what img2dataset has beside a tar')
  assert brief(find_shards(str(tmp_path))) == [
    ('train/00000', TAR, 'train'),
    ('train/00001', TAR, 'train'),
    ('val/00001', TAR, 'val'),
  ]
  assert names_archives(str(tmp_path), annotations='auto')
  assert not names_archives(str(tmp_path), annotations='captions.csv')


def test_a_pattern_and_a_file(archives, tmp_path):
  for name in ('a_0.tar', 'a_1.tar', 'b_0.tar', 'a_0.txt'):
    archives['tar'](tmp_path / name, [])
  pattern = str(tmp_path / 'a_*')
  assert brief(find_shards(pattern)) == [('a_0', TAR, ''), ('a_1', TAR, '')]
  assert brief(find_shards(str(tmp_path / 'b_0.tar'))) == [('', TAR, '')]
  assert names_archives(pattern, annotations='auto')


def test_folders_of_pairs(archives, tmp_path):
  for folder in ('train/00000', 'train/00001'):
    (tmp_path / folder).mkdir(parents=True)
    for name, content in archives['img2dataset'](range(1)):
      (tmp_path / folder / name).write_bytes(content)
  assert brief(find_shards(str(tmp_path))) == [
    ('train/00000', PAIRS, 'train'),
    ('train/00001', PAIRS, 'train'),
  ]
  alone = str(tmp_path / 'train/00001')
  assert brief(find_shards(alone)) == [('', PAIRS, '')]


def test_annotations_go_before_archives(small_data, archives, tmp_path):
  assert not names_archives(str(small_data), annotations='auto')
  archives['zip'](tmp_path / 'RSICD_images.zip', [('1.jpg', b'x')])
  assert brief(find_shards(str(tmp_path))) == [('', ZIP, '')]
  (tmp_path / 'dataset_rsicd.json').write_text('{}')
  assert not names_archives(str(tmp_path), annotations='auto')


def test_parquet_with_pictures_is_an_archive_and_one_of_names_a_table(tmp_path):
  pa = pytest.importorskip('pyarrow', reason='reads parquet')
  pq = pytest.importorskip('pyarrow.parquet')
  rows = [{'image': 'a.jpg', 'caption': 'a'}]
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'train.parquet')
  assert not names_archives(str(tmp_path), annotations='auto')
  rows = [{'image': {'bytes': b'x', 'path': 'a.jpg'}, 'caption': 'a'}]
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'train.parquet')
  assert names_archives(str(tmp_path), annotations='auto')
  assert brief(find_shards(str(tmp_path))) == [('', PARQUET, 'train')]


def test_a_source_without_shards_says_what_it_holds(tmp_path):
  (tmp_path / 'README').write_text('')
  with pytest.raises(UserError, match=r'expected tar shards.* holds: README'):
    find_shards(str(tmp_path / '*.tar'))
  with pytest.raises(UserError, match='expected the folder of the data set'):
    find_shards(str(tmp_path / 'no/a.tar'))
