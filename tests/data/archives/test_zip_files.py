"""Zip files of pictures with tables or texts."""

import json

import pytest

from harma_jax.data.archives.zip_files import read_zip
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.errors import UserError


def read(path, reading=AS_WRITTEN):
  return [each.entry for each in read_zip(path, reading=reading)]


def brief(entries):
  return [(each.image, each.captions, each.split) for each in entries]


def test_a_table_in_it_names_pictures_in_any_folder(archives, tmp_path):
  rows = 'filename,title,split\nb.jpg,one,train\na.jpg,two,val\nb.jpg,three,train\n'
  members = [
    ('RSICD/captions.csv', rows.encode()),
    ('__MACOSX/RSICD/._a.jpg', b'x'),
    *((f'RSICD/images/{name}.jpg', archives['picture'](1)) for name in 'abc'),
  ]
  path = archives['zip'](tmp_path / 'a.zip', members)
  assert brief(read(path)) == [
    ('b.jpg', ['one', 'three'], 'train'),
    ('a.jpg', ['two'], 'val'),
  ]


def test_tables_are_read_as_those_of_folders_are(archives, tmp_path):
  images = [
    {'filename': '1.tif', 'split': 'restval', 'sentences': [{'raw': 'a'}, {'raw': 'b'}]}
  ]
  karpathy = json.dumps({'images': images}).encode()
  members = [('dataset_rsicd.json', karpathy), ('img/1.tif', archives['picture'](1))]
  path = archives['zip'](tmp_path / 'a.zip', members)
  assert brief(read(path)) == [('1.tif', ['a', 'b'], 'restval')]
  members[0] = ('rows_test.csv', b'pic;words\n1.tif;a\n')
  path = archives['zip'](tmp_path / 'b.zip', members)
  reading = Reading(columns='image=pic,caption=words')
  assert brief(read(path, reading)) == [('1.tif', ['a'], 'test')]


def test_pairs_in_it_are_those_of_a_folder(archives, tmp_path):
  members = list(archives['img2dataset'](range(3)))
  path = archives['zip'](tmp_path / 'a.zip', members[::-1])
  assert [each.captions for each in read(path)] == [
    [f'fields and houses {number}'] for number in range(3)
  ]


def test_a_row_without_its_picture_is_named(archives, tmp_path):
  members = [('rows.csv', b'image,caption\nno.jpg,a\n'), ('1.jpg', b'x')]
  (entry,) = read(archives['zip'](tmp_path / 'a.zip', members))
  assert entry.place.endswith('a.zip/rows.csv, line 2')
  assert "one picture 'no.jpg' in the archive" in entry.problem


def test_a_damaged_picture_is_named_and_the_rest_is_read(archives, tmp_path):
  members = [
    ('rows.csv', b'image,caption\n1.jpg,a\n2.jpg,b\n'),
    ('1.jpg', b'first' * 9),
    ('2.jpg', b'second'),
  ]
  path = archives['zip'](tmp_path / 'a.zip', members)
  path.write_bytes(path.read_bytes().replace(b'first' * 9, b'worse' * 9))
  first, second = read(path)
  assert 'Bad CRC-32' in first.problem
  assert not second.problem


def test_a_zip_of_neither_is_refused(archives, tmp_path):
  path = archives['zip'](tmp_path / 'a.zip', [('1.jpg', b'x')])
  with pytest.raises(UserError, match='pictures with a table of captions'):
    read(path)


def test_a_zip_that_breaks_off_is_named(archives, tmp_path):
  path = archives['zip'](tmp_path / 'a.zip', archives['img2dataset'](range(3)))
  path.write_bytes(path.read_bytes()[:900])
  with pytest.raises(UserError, match=r'a\.zip: expected a whole zip file.*copy it'):
    read(path)


def test_a_zip_of_an_unknown_version_is_named(archives, tmp_path):
  path = archives['zip'](tmp_path / 'a.zip', archives['img2dataset'](range(1)))
  content = bytearray(path.read_bytes())
  content[content.index(b'PK\1\2') + 6] = 100
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'a\.zip: expected a whole.*version 10\.0.*copy'):
    read(path)
