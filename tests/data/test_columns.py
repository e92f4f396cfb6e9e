"""Which column is what: the published spellings, what is asked for, and mistakes."""

import pytest

from harma_jax.data.columns import Columns, choose_columns, read_asked, texts_of
from harma_jax.errors import UserError

# Columns of a published table -> image, captions, split.
PUBLISHED = {
  'own': ('image caption split', 'image', 'caption', 'split'),
  'OpenCLIP, RemoteCLIP': ('filepath title', 'filepath', 'title', ''),
  'RRSITR': ('filename title', 'filename', 'title', ''),
  'SkyScript': ('filepath title title_multi_objects', 'filepath', 'title', ''),
  'one of SkyScript': ('filepath title_multi_objects', 'filepath', None, ''),
  'COCO': ('file_name text', 'file_name', 'text', ''),
  'parquet of RSICD': ('filename captions image', 'image', 'captions', ''),
  'Flickr': ('raw sentids split filename img_id', 'filename', 'raw', 'split'),
  'NWPU': (
    'filename imgid split sentids raw raw_1 raw_2',
    *('filename', 'raw raw_1 raw_2', 'split'),
  ),
  'numbered': ('image caption_1 caption_2', 'image', 'caption_1 caption_2', ''),
  'GAIA': ('id image_src image_alt captions credits', 'image_src', 'captions', ''),
  'MGRS': (
    'global_filepath brief_caption detailed_caption segment',
    *('global_filepath', 'brief_caption detailed_caption', ''),
  ),
  'other case': (' Image Caption SPLIT', 'Image', 'Caption', 'SPLIT'),
  'img_path': ('img_path sentence', 'img_path', 'sentence', ''),
  'path': ('path raw', 'path', 'raw', ''),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_columns_are_known(name):
  names, image, captions, split = PUBLISHED[name]
  columns = choose_columns(names.split())
  expected = tuple((captions or 'title_multi_objects').split())
  assert (columns.image, columns.captions, columns.split) == (image, expected, split)


def test_what_is_not_taken_is_said():
  columns = choose_columns(['filepath', 'title', 'title_multi_objects', 'split'])
  assert str(columns) == (
    'image=filepath,caption=title,split=split (not taken: title_multi_objects)'
  )
  assert choose_columns(['image', 'caption']) == Columns('image', ('caption',))


def test_a_name_beside_an_image_is_kept():
  assert choose_columns(['filename', 'captions', 'image']).file == 'filename'


def test_what_is_asked_for_counts_more():
  names = ['filepath', 'title', 'title_multi_objects', 'words', 'fold', 'split']
  asked = 'caption=title_multi_objects'
  assert choose_columns(names, asked=asked).captions == ('title_multi_objects',)
  asked = 'image=Words, caption=title,caption=title_multi_objects,split=fold'
  columns = choose_columns(names, asked=asked)
  assert columns.image == 'words'
  assert columns.captions == ('title', 'title_multi_objects')
  assert columns.split == 'fold'
  assert choose_columns(names, asked='split=').split == ''


def test_a_table_may_have_its_images_elsewhere():
  assert choose_columns(['url', 'caption'], needs_image=False).image == ''


@pytest.mark.parametrize(
  ('names', 'asked', 'words'),
  [
    ('picture words', '', 'columns=image=NAME,caption=NAME'),
    ('picture caption', '', 'caption=caption is taken. Name them: --config.data.col'),
    ('image words', '', 'image=image is taken'),
    ('', '', "found ''"),
    ('image caption text', '', 'one column of captions; found caption, text'),
    ('image raw caption_1 caption_2', '', 'found raw, caption_1'),
    ('image caption', 'caption=words', "expected the column 'words'"),
    ('image caption', 'words', "found 'words'"),
    ('image caption', 'title=caption', "found 'title=caption'"),
    ('image caption', 'image=', "found 'image='"),
    ('image caption', 'image=a,image=b', 'found a, b'),
  ],
)
def test_a_mistake_is_one_message(names, asked, words):
  with pytest.raises(UserError) as caught:
    choose_columns(names.split(), asked=asked, place='train.csv, line 1')
  assert words in str(caught.value)
  assert 'data.columns' in str(caught.value) or 'several times' in str(caught.value)


def test_messages_begin_with_the_place():
  with pytest.raises(UserError, match=r'^train\.csv, line 1: expected'):
    choose_columns(['a', 'b'], place='train.csv, line 1')


def test_asked_is_read_once_for_all_rows():
  assert read_asked('image=a') == {'image': ('a',)}
  assert read_asked('') == {}


@pytest.mark.parametrize(
  ('cell', 'texts'),
  [
    ('one ship', ['one ship']),
    (['one', 'two'], ['one', 'two']),
    ([{'raw': 'one', 'tokens': []}, {'caption': 'two'}], ['one', 'two']),
    ([], []),
    (None, None),
    (3, [3]),
    ({'raw': 'one'}, [{'raw': 'one'}]),
    ([{'id': 1}], [{'id': 1}]),
  ],
)
def test_texts_of_a_cell(cell, texts):
  assert texts_of(cell) == texts
