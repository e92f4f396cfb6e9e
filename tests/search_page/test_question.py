"""What a browser may send."""

import base64
import io

import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_page.question import read_question


def _png() -> str:
  buffer = io.BytesIO()
  Image.new('RGB', (3, 2), 'red').save(buffer, 'PNG')
  return base64.b64encode(buffer.getvalue()).decode()


def test_all_that_may_be_asked():
  fields = {'text': ' boats ', 'minus': 'clouds', 'bbox': '1,2,3,4', 'top': 3}
  question = read_question(fields | {'overlap': 'keep', 'picture': _png()}, rows=9)
  assert question.text == 'boats'
  assert (question.minus, question.bbox, question.top) == ('clouds', '1,2,3,4', 3)
  assert question.overlap == 'keep'
  assert question.picture.getpixel((0, 0)) == (255, 0, 0)


def test_a_row_is_enough():
  assert read_question({'row': 8}, rows=9).row == 8


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ([], 'object'),
    ({'text': 'a', 'path': '/etc'}, 'object'),
    ({'text': ['a']}, 'text'),
    ({'text': 'a' * 3000}, 'text'),
    ({'text': '  '}, 'Type'),
    ({'row': 9}, 'row'),
    ({'row': -1}, 'row'),
    ({'row': True}, 'row'),
    ({'row': 1.0}, 'row'),
    ({'text': 'a', 'top': 0}, 'top'),
    ({'text': 'a', 'top': 10**9}, 'top'),
    ({'picture': '%%%'}, 'base64'),
    ({'picture': base64.b64encode(b'no image').decode()}, 'the picture'),
  ],
)
def test_what_is_no_question_is_one_message(fields, words):
  with pytest.raises(UserError, match=words):
    read_question(fields, rows=9)
