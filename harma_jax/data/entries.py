"""Rows of annotations: as they are written, and as a table of captions needs them."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.errors import UserError


class Entry(NamedTuple):
  """A row of a file as it is written; it may lack what it should have.

  Attributes:
    place: as messages name it: `rsicd_train.json, row 3`.
    image: the image's name.
    captions: a list of texts.
    split: the name of the split; None where the row has no such field.
    found: the whole row, for messages.
    problem: why its image and captions are not known; '' where they are.
  """

  place: str
  image: object
  captions: object
  split: object
  found: object
  problem: str = ''


class Row(NamedTuple):
  """A row of any form, with at least one caption."""

  place: str
  image: str  # relative to the image folder, with `/`
  captions: list[str]


# Gives the path below the image folder of an image's name, '' where it leads out of it.
PathOf = Callable[[str], str]


def parse_row(entry: Entry, *, path_of: PathOf) -> Row:
  """The image and the captions of a row; what the captions say is not looked at.

  Raises:
    UserError: an image or the captions are missing or no text, or the image's path
      leads out of the image folder.
  """
  place, image, captions, _, found, problem = entry
  if problem:
    raise UserError(f'{place}: {problem}')
  texts = isinstance(captions, list) and captions
  if not texts or not isinstance(image, str):
    raise unusable_row(place, found)
  for text in captions:
    if not isinstance(text, str):
      raise unusable_row(place, found)
  path = path_of(image)
  if not path:
    raise _outside(image, place=place)
  return Row(place, path, captions)


def make_path_of(
  *, reading: Reading = AS_WRITTEN, root: str | os.PathLike | None = None
) -> PathOf:
  """Builds what gives an image's path below the image folder; '' for none.

  Args:
    reading: its `prefix` is applied first; with `match` `name` a path that leads
      elsewhere is taken for one below the folder.
    root: the image folder: an absolute path below it is relative to it.
  """
  rules, anywhere = reading.rules, reading.match == 'name'
  folder = os.path.abspath(root) + '/' if root is not None else None

  def path_of(image: str) -> str:
    for old, new in rules:
      if image.startswith(old) and image[len(old) : len(old) + 1] in ('', '/'):
        image = new + image[len(old) :] if new else image[len(old) :].lstrip('/')
        break
    if _is_plain(image):
      return image
    if folder and image.startswith(folder):
      image = image.removeprefix(folder)
    path = pathlib.PurePath(image)
    parts = path.parts
    if anywhere:
      parts = [part for part in parts if part not in ('..', path.anchor)]
    if not parts or '..' in parts or (path.anchor and not anywhere):
      return ''
    return '/'.join(parts)

  return path_of


def _is_plain(path: str) -> bool:
  """Whether pathlib would leave a path as it is, which takes it microseconds."""
  ends = path[:1] not in ('', '/', '.') and path[-1] != '/'
  return ends and '/.' not in path and '//' not in path


def unusable_row(place: str, found: object) -> UserError:
  """What to raise of a row that has none of the forms."""
  return UserError(
    f'{place}: expected {{"image": FILE, "caption": TEXT}} (or a list of texts), or '
    '{"filename": FILE, "split": NAME, "sentences": [{"raw": TEXT}]}; found '
    f'{shorten(found)}. Correct or remove the row.'
  )


def shorten(found: object, *, most: int = 120) -> str:
  """What was found as text for a message, cut where it is long."""
  text = found if isinstance(found, str) else json.dumps(found, default=str)
  return text if 0 < len(text) <= most else repr(text[:most]) + '...' * bool(text)


def _outside(image: str, *, place: str) -> UserError:
  folder = os.path.dirname(image)
  rewrite = (
    f', or rewrite its beginning, as with --config.data.prefix={folder}='
    if os.path.isabs(image)
    else ''
  )
  return UserError(
    f'{place}: expected an image file below the image folder; found {image!r}. Write '
    'it relative to that folder, which --config.data.images=FOLDER sets'
    f'{rewrite}.'
  )
