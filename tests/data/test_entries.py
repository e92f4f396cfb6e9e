"""Names of images become paths below the image folder, or are refused."""

import pytest

from harma_jax.data.entries import Entry, make_path_of, parse_row
from harma_jax.data.reading import Reading
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('image', 'path'),
  [
    ('a.jpg', 'a.jpg'),
    ('b/c.jpg', 'b/c.jpg'),
    ('./b/./c.jpg', 'b/c.jpg'),
    ('b//c.jpg', 'b/c.jpg'),
    ('b/', 'b'),
    ('.a.jpg', '.a.jpg'),
    ('b/.a.jpg', 'b/.a.jpg'),
    ('a..jpg', 'a..jpg'),
    ('/data/images/b/c.jpg', 'b/c.jpg'),
    ('/data/images/../c.jpg', ''),
    ('/data/images2/c.jpg', ''),
    ('/etc/passwd', ''),
    ('../a.jpg', ''),
    ('b/../../a.jpg', ''),
    ('b/..', ''),
    ('.', ''),
    ('', ''),
  ],
)
def test_a_path_stays_below_the_folder(image, path):
  assert make_path_of(root='/data/images')(image) == path


@pytest.mark.parametrize(
  ('prefix', 'image', 'path'),
  [
    ('/datasets/RSITMD/images=', '/datasets/RSITMD/images/a.tif', 'a.tif'),
    ('/datasets/RSITMD/images/=', '/datasets/RSITMD/images/b/a.tif', 'b/a.tif'),
    ('/datasets=/data/images', '/datasets/a.tif', 'a.tif'),
    ('old=new', 'old/a.tif', 'new/a.tif'),
    ('old=new', 'older/a.tif', 'older/a.tif'),
    ('a/b=c,d=', 'd/a.tif', 'a.tif'),
    ('a/b=c, d=', 'a/b/a.tif', 'c/a.tif'),
    ('old=..', 'old/a.tif', ''),
    ('old=/etc', 'old/passwd', ''),
    ('/datasets=', '/other/a.tif', ''),
  ],
)
def test_a_leading_folder_becomes_another(prefix, image, path):
  path_of = make_path_of(reading=Reading(prefix=prefix), root='/data/images')
  assert path_of(image) == path


@pytest.mark.parametrize(
  ('image', 'path'),
  [
    ('/datasets/images/a.tif', 'datasets/images/a.tif'),
    ('../a.tif', 'a.tif'),
    ('https://example.org/a.jpg', 'https:/example.org/a.jpg'),
    ('..', ''),
  ],
)
def test_a_name_is_only_looked_for_below_the_folder(image, path):
  assert make_path_of(reading=Reading(match='name'))(image) == path


def test_a_path_that_leads_out_gets_the_way_to_rewrite_it():
  entry = Entry('t.csv, line 2', '/x/y/a.tif', ['a'], None, [])
  with pytest.raises(UserError, match=r'^t\.csv, line 2: .*data\.prefix=/x/y=\.$'):
    parse_row(entry, path_of=make_path_of())


@pytest.mark.parametrize('prefix', ['old', '=new', 'a=b,c', '/=x'])
def test_a_rule_that_is_none(prefix):
  with pytest.raises(UserError, match=r'data\.prefix: expected OLD=NEW'):
    Reading(prefix=prefix)


def test_a_match_that_is_none():
  with pytest.raises(UserError, match=r'data\.match.*exact, name'):
    Reading(match='nearly')
