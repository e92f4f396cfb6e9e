"""What the page asks for, checked: plain values out of JSON."""

import base64
import binascii
import io
from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image

from harma_jax.data.images import decode_image
from harma_jax.errors import UserError

MOST_HITS = 200
LONGEST_TEXT = 2_000  # characters
FIELDS = ('text', 'minus', 'picture', 'row', 'bbox', 'top', 'overlap')


class Question(NamedTuple):
  """What is looked for.

  Attributes:
    text: words, or empty.
    minus: words for what to avoid, or empty.
    picture: an image, or None.
    row: the row of the index whose picture is looked for, or None.
    bbox: W,S,E,N in degrees, or empty.
    top: how many hits.
    overlap: `best` or `keep`.
  """

  text: str = ''
  minus: str = ''
  picture: Image.Image | None = None
  row: int | None = None
  bbox: str = ''
  top: int = 24
  overlap: str = 'best'


def read_question(fields: object, *, rows: int) -> Question:
  """The question that JSON holds.

  Args:
    fields: what was sent.
    rows: of the index.

  Raises:
    UserError: it is none, or its picture cannot be read.
  """
  if not isinstance(fields, Mapping) or not fields.keys() <= set(FIELDS):
    raise UserError(f'Expected an object of {", ".join(FIELDS)}; found another.')
  texts = {name: fields[name] for name in ('text', 'minus', 'bbox') if name in fields}
  for name, text in texts.items():
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
      raise UserError(f'{name}: expected at most {LONGEST_TEXT:,} characters.')
  question = Question(**{name: text.strip() for name, text in texts.items()})
  if fields.get('top') is not None:
    question = question._replace(top=_number(fields, 'top', 1, MOST_HITS))
  if fields.get('row') is not None:
    question = question._replace(row=_number(fields, 'row', 0, rows - 1))
  if fields.get('picture'):
    question = question._replace(picture=_picture(fields['picture']))
  if fields.get('overlap') in ('best', 'keep'):
    question = question._replace(overlap=fields['overlap'])
  if not question.text and question.picture is None and question.row is None:
    raise UserError('Type what you look for, or drop a picture.')
  return question


def _number(fields: Mapping, name: str, low: int, high: int) -> int:
  value = fields[name]
  if type(value) is not int or not low <= value <= high:
    raise UserError(f'{name}: expected a whole number from {low} to {high}.')
  return value


def _picture(encoded: object) -> Image.Image:
  try:
    content = base64.b64decode(str(encoded), validate=True)
  except (binascii.Error, ValueError) as error:
    raise UserError(f'picture: expected an image in base64; found: {error}.') from error
  return decode_image(io.BytesIO(content), name='the picture')
