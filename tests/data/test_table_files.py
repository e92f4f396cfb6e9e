"""Tables of text and parquet: separators, cells with lists, and what is damaged."""

import json

import pytest

from harma_jax.data.annotation_files import read_entries
from harma_jax.data.reading import Reading
from harma_jax.errors import UserError


@pytest.fixture
def read(tmp_path):
  """`read(name, content, columns='')`: image and captions of the rows of a file."""

  def rows_of(name, content, columns=''):
    path = tmp_path / name
    if isinstance(content, str):
      content = content.encode()
    path.write_bytes(content)
    entries = read_entries(path, reading=Reading(columns=columns))
    return [(entry.image, entry.captions) for entry in entries]

  return rows_of


@pytest.mark.parametrize('ending', ['csv', 'tsv'])
@pytest.mark.parametrize('separator', [',', '\t', ';', '|'])
def test_a_separator_is_told_by_the_header(read, ending, separator):
  lines = ['filepath', 'title'], ['a.jpg', '"a ship, at; sea|or\tnot"']
  text = '\n'.join(separator.join(line) for line in lines)
  assert read(f'x.{ending}', text) == [('a.jpg', ['a ship, at; sea|or\tnot'])]


def test_a_caption_with_commas_needs_no_quotes_between_tabs(read):
  text = 'filepath\ttitle\na.jpg\ta ship, at sea\n'
  assert read('train.csv', text) == [('a.jpg', ['a ship, at sea'])]


def test_a_cell_may_hold_a_list(read):
  text = 'image,captions\na.jpg,"[""one"", ""two""]"\nb.jpg,[\nc.jpg,"[""x"" y]"\n'
  assert read('x.csv', text) == [
    ('a.jpg', ['one', 'two']),
    ('b.jpg', ['[']),
    ('c.jpg', ['["x" y]']),
  ]


def test_a_row_may_end_early_where_nothing_is_needed(read):
  text = 'image,caption,note\na.jpg,one\nb.jpg\n'
  assert read('x.csv', text) == [('a.jpg', ['one']), ('b.jpg', None)]


def test_an_index_in_front_does_no_harm(read):
  assert read('x.csv', ',filepath,title\n0,a.jpg,one\n') == [('a.jpg', ['one'])]


def test_several_columns_are_taken_where_they_are_asked_for(read):
  text = 'image,title,text\na.jpg,one,two\n'
  with pytest.raises(UserError, match=r'x\.csv, line 1: .* found title, text'):
    read('x.csv', text)
  asked = 'caption=text,caption=title'
  assert read('x.csv', text, asked) == [('a.jpg', ['two', 'one'])]


def test_json_lines_are_told_from_json_by_content(read):
  row = json.dumps({'image': 'a.jpg', 'caption': 'one'})
  expected = [('a.jpg', ['one'])]
  assert read('x.json', f'{row}\n{row}\n') == 2 * expected
  assert read('x.jsonl', f'[{row},\n{row}]') == 2 * expected
  assert read('y.jsonl', f'{row}\n') == expected
  assert read('z.ndjson', f'\n{row}\n') == expected
  assert read('y.json', f'{{"images": [{row}]}}') == expected
  assert read('z.json', f'{{"images":\n[{row}]}}') == expected


@pytest.fixture
def parquet(tmp_path):
  """`parquet(rows)`: the content of a parquet file."""
  pa = pytest.importorskip('pyarrow', reason='writes parquet')
  pq = pytest.importorskip('pyarrow.parquet')

  def write(rows):
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'made')
    return (tmp_path / 'made').read_bytes()

  return write


def test_parquet_is_told_by_its_content(read, parquet):
  content = parquet([{'file_name': 'a.jpg', 'caption': 'one', 'id': 3}])
  for name in ('x.parquet', 'x.csv'):
    assert read(name, content) == [('a.jpg', ['one'])]
  content = parquet([{'path': 'a.jpg', 'captions': ['one', 'two']}])
  assert read('x.parquet', content) == [('a.jpg', ['one', 'two'])]
  content = parquet([{'filename': 'a.jpg', 'sentences': [{'raw': 'one'}]}])
  assert read('x.parquet', content) == [('a.jpg', ['one'])]


def test_parquet_that_cannot_serve_is_one_message(read, parquet):
  inside = parquet([{'image': {'bytes': b'1', 'path': 'a.jpg'}, 'caption': 'one'}])
  with pytest.raises(
    UserError, match=r"column 'image'.*the images themselves.*prepare"
  ):
    read('x.parquet', inside)
  with pytest.raises(UserError, match=r'x\.parquet: expected the columns image and'):
    read('x.parquet', parquet([{'url': 'a.jpg', 'words': 'one'}]))
  half = inside[: len(inside) // 2]
  for content in (half, b'', b'PAR1'):
    with pytest.raises(UserError, match=r'x\.parquet: expected a whole parquet file; '):
      read('x.parquet', content)
