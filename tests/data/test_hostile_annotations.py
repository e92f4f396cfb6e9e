"""Annotations from strangers: each file is a table, as promised, or a UserError.

Every file is made here by code, so that no hostile file lies in the repository.
"""

import json
import os
import pickle
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.data.images import read_image
from harma_jax.errors import UserError


def rows(*images, caption='one ship') -> bytes:
  return json.dumps([{'image': image, 'caption': caption} for image in images]).encode()


def a_row(caption: str) -> bytes:
  """A JSON file of one row whose caption is written as given."""
  return f'[{{"image": "a.jpg", "caption": {caption}}}]'.encode()


DEEP = 100_000
KARPATHY = b'{"images": [{"filename": "a.jpg", "split": "train", "sentences": %s}]}'
TRAIN, CSV, JSONL = 'toy_train.json', 'train.csv', 'train.jsonl'

# (name of the file, content) -> words of the message.
REFUSED_ANNOTATIONS = {
  'nothing': (TRAIN, b'', 'line 1, column 1'),
  'empty list': (TRAIN, b'[]', 'found none'),
  'empty object': (TRAIN, b'{}', 'expected a JSON list'),
  'null': (TRAIN, b'null', 'expected a JSON list'),
  'null row': (TRAIN, b'[null]', 'row 1'),
  'number': (TRAIN, b'NaN', 'expected a JSON list'),
  'cut off': (TRAIN, rows('a.jpg')[:-5], 'line 1'),
  'comma at the end': (TRAIN, rows('a.jpg')[:-1] + b',]', 'line 1'),
  'two documents': (TRAIN, rows('a.jpg') * 2, 'Extra data'),
  'nested lists': (TRAIN, b'[[["a.jpg", "one ship"]]]', 'row 1'),
  'deep nesting': (TRAIN, b'[' * DEEP, 'from line 1'),
  'deep objects': (TRAIN, b'[' + b'{"image":' * DEEP, 'from line 1'),
  'deep line': (JSONL, rows('a.jpg')[1:-1] + b'\n' + b'[' * DEEP, 'from line 2'),
  'huge number': (TRAIN, b'[' + b'9' * 10_000 + b']', 'from line 1'),
  'number as caption': (TRAIN, a_row('3'), 'row 1'),
  'infinite caption': (TRAIN, a_row('1e999'), 'row 1'),
  'NaN caption': (TRAIN, a_row('NaN'), 'row 1'),
  'null caption': (TRAIN, a_row('null'), 'row 1'),
  'object as caption': (TRAIN, a_row('{"raw": "one ship"}'), 'row 1'),
  'list in a list of captions': (TRAIN, a_row('[["one ship"]]'), 'row 1'),
  'no captions': (TRAIN, a_row('[]'), 'row 1'),
  'blank caption': (TRAIN, a_row('" \\u00a0\\t"'), 'row 1'),
  'lone surrogate': (TRAIN, a_row('"\\udc80"'), 'surrogate'),
  'sentences of text': ('dataset.json', KARPATHY % b'"one ship"', 'row 1'),
  'sentences of numbers': ('dataset.json', KARPATHY % b'[{"raw": 1}]', 'row 1'),
  'no sentences': ('dataset.json', KARPATHY % b'[]', 'row 1'),
  'UTF-16': (TRAIN, rows('a.jpg').decode().encode('utf-16'), 'UTF-8'),
  'Latin-1': (CSV, 'image,caption\na.jpg,fôret\n'.encode('latin-1'), 'UTF-8'),
  'garbage': (TRAIN, bytes(range(256)), 'UTF-8'),
  'pickle': (TRAIN, pickle.dumps([{'image': 'a.jpg', 'caption': 'b'}]), 'UTF-8'),
  'unknown split': ('captions.csv', b'image,caption,split\na.jpg,b,x\n', "'train'"),
  'number as split': (
    'captions.jsonl',
    b'{"image": "a.jpg", "caption": "b", "split": 1}',
    'line 1',
  ),
  'CSV without columns': (CSV, b'a.jpg;one ship\n', 'columns image and caption'),
  'CSV with a column too few': (CSV, b'image,caption\na.jpg\n', 'line 2'),
  'CSV with a column too many': (CSV, b'image,caption\na.jpg,b,c\n', 'line 2'),
  'CSV with an open quote': (CSV, b'image,caption\na.jpg,"b\n', 'line 2'),
  'CSV with a huge field': (CSV, b'image,caption\na.jpg,' + b'x' * 200_000, 'line 2'),
  'CSV of zeros': (CSV, bytes(1000), 'line 1'),
  'path upwards': (TRAIN, rows('../secret.jpg'), 'row 1'),
  'path upwards within': (TRAIN, rows('b/../../secret.jpg'), 'row 1'),
  'absolute path': (TRAIN, rows('/etc/passwd'), 'row 1'),
  'two slashes': (TRAIN, rows('//etc/passwd'), 'row 1'),
  'address': (TRAIN, rows('file:///etc/passwd'), 'file:/etc/passwd'),
  'home folder': (TRAIN, rows('~/.ssh/id_rsa'), '~/.ssh/id_rsa'),
  'path of Windows': (TRAIN, rows('..\\secret.jpg'), '..\\secret.jpg'),
  'quoted path': (TRAIN, rows('%2e%2e/secret.jpg'), '%2e%2e/secret.jpg'),
  'zero byte in a path': (TRAIN, rows('a.jpg\0.png'), 'cannot be found'),
  'surrogate in a path': (TRAIN, rows('\ud800/a.jpg'), 'cannot be found'),
  'very long path': (TRAIN, rows('a' * 100_000 + '/b'), 'cannot be found'),
  'folder as image': (TRAIN, rows('b'), 'cannot be found'),
  'other normalisation': (TRAIN, rows('for\u00eat.jpg'), 'cannot be found'),
  'empty path': (TRAIN, rows(''), 'row 1'),
  'bad row after good ones': (TRAIN, rows('a.jpg', 'a.jpg', '../a.jpg'), 'row 3'),
}

LONG_CAPTION = 'ship ' * 100_000

# (name of the file, content) -> captions.
READ_ANNOTATIONS = {
  'byte order mark': (TRAIN, b'\xef\xbb\xbf' + rows('a.jpg'), ('one ship',)),
  'CRLF': (CSV, b'image,caption\r\na.jpg,one ship\r\n', ('one ship',)),
  'blank lines': (JSONL, b'\r\n\n' + rows('a.jpg')[1:-1] + b'\r\n\r\n', ('one ship',)),
  'same key twice': (TRAIN, a_row('"first", "caption": "last"'), ('last',)),
  'unknown keys': (TRAIN, a_row('"one ship", "id": [{}, 1e999]'), ('one ship',)),
  'very long caption': (TRAIN, rows('a.jpg', caption=LONG_CAPTION), (LONG_CAPTION,)),
  'control characters': (TRAIN, a_row('"a\\u0000b\\u001b[31m"'), ('a\0b\x1b[31m',)),
  'markup': (TRAIN, a_row('"<script>{0}%s"'), ('<script>{0}%s',)),
  'quotes and lines in CSV': (
    CSV,
    b'image,caption\na.jpg,"one ""old"",\nship"\n',
    ('one "old",\nship',),
  ),
  'formula in CSV': (CSV, b'image,caption\na.jpg,=1+1\n', ('=1+1',)),
  'decomposed name': (TRAIN, rows('fore\u0302t.jpg'), ('one ship',)),
  'path within': (TRAIN, rows('./b/./c.jpg'), ('one ship',)),
  'link within': (TRAIN, rows('link.jpg'), ('one ship',)),
}


@pytest.fixture(name='root')
def _root(tmp_path):
  """A data set with images (empty files) and no annotations yet."""
  folder = tmp_path / 'data' / 'images'
  (folder / 'b').mkdir(parents=True)
  for name in ('a.jpg', 'b/c.jpg', unicodedata.normalize('NFD', 'forêt.jpg')):
    (folder / name).touch()
  (folder / 'link.jpg').symlink_to('b/c.jpg')
  (tmp_path / 'secret').mkdir()
  (tmp_path / 'secret' / 'a.jpg').touch()
  return folder.parent


@pytest.mark.parametrize('name', REFUSED_ANNOTATIONS)
def test_annotations_are_refused(root, name):
  file, content, words = REFUSED_ANNOTATIONS[name]
  (root / file).write_bytes(content)
  with pytest.raises(UserError) as caught:
    load_captions(root, split='train')
  assert words in str(caught.value)


@pytest.mark.parametrize('name', READ_ANNOTATIONS)
def test_annotations_are_read(root, name):
  file, content, captions = READ_ANNOTATIONS[name]
  (root / file).write_bytes(content)
  assert load_captions(root, split='train').captions == captions


@pytest.mark.parametrize('depth', range(100, 1100, 25))
def test_nesting_of_any_depth_is_refused_in_one_message(root, depth):
  (root / TRAIN).write_bytes(b'[' * depth + b']' * depth)
  with pytest.raises(UserError, match=TRAIN):
    load_captions(root, split='train')


LINKS = {
  'file': ('x.jpg', 'secret/a.jpg', 'x.jpg'),
  'folder': ('x', 'secret', 'x/a.jpg'),
  'folder above': ('x', '.', 'x/secret/a.jpg'),
}


@pytest.mark.parametrize('name', LINKS)
def test_link_out_of_the_image_folder_is_refused(root, name):
  link, target, image = LINKS[name]
  (root / 'images' / link).symlink_to(root.parent / target)
  (root / TRAIN).write_bytes(rows('a.jpg', image))
  with pytest.raises(
    UserError, match=rf'{TRAIN}, row 2: .* {image!r}, a link to .*sec'
  ):
    load_captions(root, split='train')


def test_link_that_no_row_asks_for_does_no_harm(root):
  (root / 'images' / 'x.jpg').symlink_to(root.parent / 'secret' / 'a.jpg')
  (root / TRAIN).write_bytes(rows('a.jpg'))
  assert load_captions(root, split='train').image_files == ('a.jpg',)


def test_image_folder_may_itself_be_a_link(root):
  (root / 'images').rename(root.parent / 'elsewhere')
  (root / 'images').symlink_to(root.parent / 'elsewhere')
  (root / TRAIN).write_bytes(rows('a.jpg', 'link.jpg'))
  assert load_captions(root, split='train').n_images == 2


class Payload:
  """Makes a folder when it is unpickled."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return os.mkdir, (self.path,)


@pytest.mark.parametrize('protocol', [0, 5])
def test_no_pickle_runs(root, protocol):
  content = pickle.dumps(Payload(root / 'ran'), protocol=protocol)
  (root / TRAIN).write_bytes(content)
  (root / 'images' / 'a.jpg').write_bytes(content)
  with pytest.raises(UserError):
    load_captions(root, split='train')
  with pytest.raises(UserError):
    read_image(root / 'images' / 'a.jpg')
  assert not (root / 'ran').exists()


KEYS = st.sampled_from(
  ['image', 'caption', 'images', 'filename', 'sentences', 'raw', 'split', '']
)
LEAVES = (
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text()
  | st.sampled_from(['a.jpg', 'b/c.jpg', '../a.jpg', 'train', 'one ship'])
)
VALUES = st.recursive(
  LEAVES,
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
  max_leaves=12,
)
CAPTIONS = LEAVES | st.lists(LEAVES, max_size=3)
ROWS = st.fixed_dictionaries({'image': LEAVES, 'caption': CAPTIONS}) | VALUES


def table_or_refusal(root, content: bytes, *, name: str) -> None:
  (root / name).write_bytes(content)
  try:
    table = load_captions(root, split='train', annotations=name)
  except UserError:
    return
  assert isinstance(table, CaptionTable)
  assert len(table.caption_image) == table.n_captions > 0
  assert set(table.caption_image) <= set(range(table.n_images))
  assert all(table.image_path(row).is_file() for row in range(table.n_images))


# The folder stays the same for all examples, and each overwrites the file.
SHARED = {
  'deadline': None,
  'derandomize': True,
  'database': None,
  'suppress_health_check': [HealthCheck.function_scoped_fixture],
}


@settings(max_examples=300, **SHARED)
@given(st.lists(ROWS, max_size=3) | VALUES)
def test_any_json_is_a_table_or_refused(root, content):
  table_or_refusal(root, json.dumps(content).encode(), name=TRAIN)


@settings(max_examples=100, **SHARED)
@given(st.lists(ROWS, max_size=3))
def test_any_json_lines_are_a_table_or_refused(root, lines):
  content = '\n'.join(json.dumps(line) for line in lines)
  table_or_refusal(root, content.encode(), name=JSONL)


TWO_ROWS = [rows('a.jpg', 'b/c.jpg'), b'image,caption\na.jpg,"one ship"\nb/c.jpg,two\n']


@settings(max_examples=200, **SHARED)
@given(name=st.sampled_from([TRAIN, JSONL, CSV]), data=st.data())
def test_any_bytes_are_a_table_or_refused(root, damaged, name, data):
  table_or_refusal(root, data.draw(damaged(TWO_ROWS)), name=name)
