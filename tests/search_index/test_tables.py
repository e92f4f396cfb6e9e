"""The tables of what was found, and of what was indexed."""

import pytest

from harma_jax.search_index.build import Made
from harma_jax.search_index.catalogue import File
from harma_jax.search_index.query import Hit
from harma_jax.search_index.tables import better_than, facts_of, print_hits


def test_hits_are_numbered_and_names_are_printed_as_they_are(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '100')
  hits = [
    Hit(image='[b]/port.png', similarity=0.25, box=(0, 10, 20, 30), corners=None),
    Hit(image='river.png', similarity=-0.5, box=(0, 0, 32, 32), corners=None),
  ]
  print_hits(hits)
  lines = capsys.readouterr().out.splitlines()
  rows = [line.strip('│').split('│') for line in lines if '.png' in line]
  assert [[cell.strip() for cell in row] for row in rows] == [
    ['1', '0.250', '[b]/port.png', '0, 10, 20, 30'],
    ['2', '-0.500', 'river.png', '0, 0, 32, 32'],
  ]


def test_of_long_names_the_end_is_printed_too(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  name = 'T31TGN_20250719T102559_TCI_10m.jp2'
  print_hits([Hit(name, 0.5, (0, 842, 256, 256), None, rank=1, searched=1000)])
  lines = capsys.readouterr().out.splitlines()
  rows = [line.strip('│').split('│') for line in lines if line.startswith('│')]
  assert ''.join(row[3].strip() for row in rows) == name


@pytest.mark.parametrize(
  ('rank', 'searched', 'words'),
  [
    (1, 24, '95 %'),
    (1, 1000, '99.9 %'),
    (2, 1_000_000, '99.9998 %'),
    (1_000_000, 1_000_000, '0.0000 %'),
    (1, 1, '0 %'),
  ],
)
def test_a_share_tells_one_row_from_the_next_and_is_never_rounded_up(
  rank, searched, words
):
  hit = Hit('a.png', 0.5, (0, 0, 1, 1), None, rank=rank, searched=searched)
  assert better_than(hit) == words


def test_the_share_is_printed_with_what_it_is_of(capsys):
  print_hits([Hit('a.png', 0.5, (0, 0, 1, 1), None, rank=1, searched=1000)])
  printed = capsys.readouterr().out
  assert '99.9 %' in printed
  assert 'of the 1,000 rows' in printed


def test_an_index_says_how_files_were_read_and_what_was_left_out():
  eight = {'reader': 'Pillow'}
  files = {
    'a.png': File(size=1, mtime_ns=1, rows=4, facts=eight),
    'b.png': File(size=1, mtime_ns=1, rows=4, facts=eight),
    'c.tif': File(
      size=1,
      mtime_ns=1,
      rows=2,
      facts={'reader': 'GDAL', 'no_place': 'no crs', 'stretch': [0.0, 3000.0]},
      dropped={'less data than --min_valid': 6},
    ),
    'd.tif': File(size=1, mtime_ns=1, dropped={'less data than --min_valid': 8}),
    'x/e.png': File(size=1, mtime_ns=1, error='/p/x/e.png: no picture: at all'),
    'f.png': File(size=1, mtime_ns=1, error='/p/f.png: no picture: at all'),
  }
  made = Made(added=3, changed=1, dropped=2, unchanged=0, skipped={'f.png': ''})
  assert list(facts_of(files, made, missing=7)) == [
    ('this call', '3 added, 1 changed, 2 dropped, 1 failed, 0 as they were'),
    ('images', '4'),
    ('rows', '10'),
    ('not yet', '7 images that other calls are to read'),
    ('read as', '2 images, as a.png (reader: Pillow)'),
    ('read as', 'c.tif (reader: GDAL; 0 becomes black, 3000 white)'),
    ('no place', 'c.tif: no crs'),
    ('left out', '14 boxes of 2 images: less data than --min_valid'),
    ('without a row', 'd.tif'),
    ('cannot be read', '2 images, as x/e.png: no picture: at all'),
  ]


def test_scenes_that_differ_in_their_own_numbers_alone_are_one_line():
  def deep(black, white):
    facts = {'reader': 'GDAL', 'stretch': [black, white], 'stretch_by': 'percentiles'}
    return File(size=1, mtime_ns=1, rows=1, facts=facts)

  files = {'a.tif': deep(231.0, 2400.0), 'b.tif': deep(623.5, 2388.0)}
  made = Made(added=2, changed=0, dropped=0, unchanged=0, skipped={})
  assert (
    'read as',
    _way('percentiles; 231 to 623.5 becomes black, 2388 to 2400 white'),
  ) in [*facts_of(files, made, missing=0)]


def _way(words):
  return f'2 images, as a.tif (reader: GDAL; stretch by: {words})'
