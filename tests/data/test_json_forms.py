"""Forms of JSON, told by their content; what is none is compared with the nearest."""

import json
import pathlib

import pytest

from harma_jax.data.json_forms import entries_of, entry_of
from harma_jax.errors import UserError

FILE = pathlib.Path('captions.json')
ROW = {'image': 'a.jpg', 'caption': 'one ship'}


def entries(content, *, asked=''):
  return list(entries_of(content, path=FILE, asked=asked))


def test_rows_may_stand_in_an_object_under_any_name():
  for content in ([ROW], {'images': [ROW]}, {'data': [ROW]}):
    (entry,) = entries(content)
    assert (entry.image, entry.captions, entry.split) == ('a.jpg', ['one ship'], None)
    assert entry.found == ROW


def test_a_filepath_is_the_folder_of_karpathys_file():
  sentences = [{'raw': 'one ship'}]
  row = {'filepath': 'val2014', 'filename': 'a.jpg', 'sentences': sentences}
  (entry,) = entries({'images': [row | {'split': 'val'}]})
  assert (entry.image, entry.split) == ('val2014/a.jpg', 'val')


def test_rows_of_one_file_may_have_other_fields_each():
  rows = [ROW, {'filename': 'b.jpg', 'captions': ['x', 'y'], 'split': 'val'}]
  assert [entry.captions for entry in entries(rows)] == [['one ship'], ['x', 'y']]


def test_numbered_captions_that_are_empty_are_left_out():
  row = {'filename': 'a.jpg', 'raw': 'one', 'raw_1': '', 'raw_2': None, 'raw_3': 'two'}
  assert entry_of(row, place='row 1', asked='').captions == ['one', 'two']
  row = {'filename': 'a.jpg', 'raw': '', 'raw_1': ''}
  assert entry_of(row, place='row 1', asked='').captions == []


def test_columns_that_are_asked_for():
  row = {'picture': 'a.jpg', 'short': 'one', 'long': 'two'}
  asked = 'image=picture,caption=long,caption=short'
  assert entry_of(row, place='row 1', asked=asked).captions == ['two', 'one']
  assert 'row' not in entry_of(row, place='row 1', asked='').problem
  assert 'image=NAME,caption=NAME' in entry_of(row, place='row 1', asked='').problem


def coco(images, annotations):
  return {'images': images, 'annotations': annotations}


IMAGE = {'id': 7, 'file_name': 'a.jpg'}


def test_ids_of_coco_may_be_texts_in_one_place():
  annotations = [{'image_id': '7', 'caption': 'one'}, {'image_id': 7, 'caption': 'two'}]
  assert [entry.image for entry in entries(coco([IMAGE], annotations))] == ['a.jpg'] * 2


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (3, 'Write a list of'),
    ({}, 'has no "images"'),
    ({'images': {}}, 'its "images" is no list'),
    ({'annotations': []}, 'nearest to COCO\'s captions, but has no "images"'),
    ({'annotations': [ROW], 'info': {}}, "nearest to COCO's"),
    (
      {'farm': [ROW], 'port': ['a']},
      'NWPU-Captions, an object of classes, but its port',
    ),
    ({'a.jpg': ['one ship']}, 'its a.jpg is no list of rows'),
    ({'farm': []}, 'its farm is no list of rows'),
    ({'a.jpg': 'one ship'}, 'has no "images"'),
    (coco([IMAGE], [{'image_id': 8, 'caption': 'x'}]), 'annotation 1: expected the id'),
    (coco([IMAGE], [{'image_id': 7, 'bbox': []}]), 'annotation 1: expected a caption'),
    (coco([IMAGE], [3]), 'annotation 1'),
    (coco([{'file_name': 'a.jpg'}], []), 'image 1: expected {"id": NUMBER'),
    ([3], 'captions.json, row 1'),
    ({'farm': [ROW, ROW], 'images': [3]}, 'captions.json, row 1'),
  ],
)
def test_what_has_no_form_is_one_message(content, words):
  with pytest.raises(UserError) as caught:
    entries(json.loads(json.dumps(content)))
  assert words in str(caught.value)
  assert str(caught.value).startswith('captions.json')
