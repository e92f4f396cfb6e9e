"""Parquet with pictures in it, as the hub's copies of data sets have them."""

import pytest

from harma_jax.data.archives.parquet_files import (
  holds_pictures,
  read_parquet_pictures,
)
from harma_jax.errors import UserError

pa = pytest.importorskip('pyarrow', reason='reads parquet')
pq = pytest.importorskip('pyarrow.parquet')


@pytest.fixture
def write(tmp_path):
  def to_file(rows, **options):
    path = tmp_path / 'train-00000-of-00001.parquet'
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, path, **options)
    return path

  return to_file


def read(path, asked='', read_file=lambda name: None):
  return list(read_parquet_pictures(path, asked=asked, read_file=read_file))


def brief(samples):
  return [(each.entry.image, each.entry.captions, each.content) for each in samples]


def rsicd(archives, count):
  return [
    {
      'filename': f'rsicd_images/airport_{number}.jpg',
      'captions': [f'planes {number}', f'a runway {number}'],
      'image': {'bytes': archives['picture'](number), 'path': None},
    }
    for number in range(count)
  ]


def test_rsicds_copy(write, archives):
  rows = rsicd(archives, 150)
  path = write(rows, row_group_size=100)
  assert brief(read(path)) == [
    (row['filename'], row['captions'], row['image']['bytes']) for row in rows
  ]
  assert holds_pictures(path)


def test_rows_of_one_picture_beside_each_other_are_one(write, archives):
  image = {'bytes': archives['picture'](1), 'path': 'a.jpg'}
  other = {'bytes': archives['picture'](2), 'path': 'a.jpg'}
  texts = zip([image, image, other, image], 'abcd', strict=True)
  path = write([{'image': picture, 'caption': text} for picture, text in texts])
  captions = [each.entry.captions for each in read(path)]
  assert captions == [['a', 'b'], ['c'], ['d']]


def test_bytes_under_any_name_are_the_pictures(write, archives):
  rows = [{'jpg': archives['picture'](1), 'key': '1', 'caption': 'a', 'path': 'x/1'}]
  assert brief(read(write(rows))) == [('x/1', ['a'], rows[0]['jpg'])]


def test_files_that_are_only_named_are_read(write):
  rows = [{'image': {'bytes': None, 'path': 'a/1.jpg'}, 'caption': 'a'}]
  files = {'a/1.jpg': b'content', '2.jpg': b'other'}
  assert brief(read(write(rows), read_file=files.get)) == [
    ('a/1.jpg', ['a'], b'content')
  ]
  rows = [{'filename': '2.jpg', 'caption': 'a'}, {'filename': '3.jpg', 'caption': 'a'}]
  found, missing = read(write(rows), read_file=files.get)
  assert found.content == b'other'
  assert missing.entry.place.endswith('of-00001.parquet, row 2')
  assert "the name '3.jpg', which is no file" in missing.entry.problem


def test_a_row_without_a_picture_or_a_caption_is_named(write, archives):
  image = {'bytes': archives['picture'](1), 'path': 'a.jpg'}
  rows = [{'image': None, 'caption': 'a'}, {'image': image, 'caption': None}]
  problems = [each.entry.problem for each in read(write(rows))]
  assert 'found nothing' in problems[0]
  assert 'expected {"image": FILE, "caption": TEXT}' in problems[1]


@pytest.mark.parametrize(
  ('row', 'words'),
  [
    ({'image': {'bytes': b'x'}, 'note': 'a'}, r'the columns image and caption.*note'),
    (
      {'image': {'bytes': b'x'}, 'caption': 'a', 'title': 'b'},
      'expected one column of captions; found caption, title',
    ),
    ({'number': 3, 'caption': 'a'}, r'expected a column of pictures.*image=NAME'),
    ({'left': b'x', 'right': b'y', 'caption': 'a'}, r'image=left'),
  ],
)
def test_columns_that_are_not_clear_are_asked_for(write, row, words):
  with pytest.raises(UserError, match=rf'00001\.parquet: .*{words}'):
    read(write([row]))


def test_a_file_that_breaks_off_is_named(write, archives):
  path = write(rsicd(archives, 20))
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(UserError, match=r'expected a whole parquet file; .*copy it anew'):
    read(path)
