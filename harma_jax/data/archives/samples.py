"""A picture and its captions out of an archive, and which member of one is what.

Nothing is ever written under a name that an archive has: it is a label only.
"""

import codecs
import functools
import io
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from harma_jax.data.columns import Columns, choose_columns, texts_of
from harma_jax.data.entries import Entry, parse_row, shorten
from harma_jax.data.json_forms import captions_of
from harma_jax.errors import UserError
from harma_jax.raster.limits import MAX_PIXELS

# Endings of members, without the dot. RS5M's pictures have `img_content`.
PICTURES = frozenset(
  ('jpg', 'jpeg', 'png', 'webp', 'tif', 'tiff', 'bmp', 'jp2', 'img_content')
)
TEXTS = ('txt', 'caption')
FIELDS = 'json'
NAME = 'img_name'  # of RS5M: what the picture was called
KNOWN = PICTURES | {*TEXTS, FIELDS, NAME}

# More than the pixels of the largest picture take with four bytes each.
MAX_PICTURE_BYTES = 4 * MAX_PIXELS
MAX_TEXT_BYTES = 16 * 2**20


class Sample(NamedTuple):
  """A picture of an archive.

  Attributes:
    entry: its place, label, captions, split and what is wrong with them.
    content: the bytes of the picture; empty where the entry has a problem.
  """

  entry: Entry
  content: bytes


class Member(NamedTuple):
  """A member of an archive whose ending is known.

  Attributes:
    key: which the members of one picture share.
    ending: one of `KNOWN`.
    name: in the archive.
    content: its bytes; empty where there is a problem.
    problem: why it was not read.
  """

  key: str
  ending: str
  name: str
  content: bytes
  problem: str = ''


class PictureBytes(NamedTuple):
  """The bytes of a picture, read like a file."""

  name: str  # for messages
  content: bytes

  def open(self, mode: str = 'rb') -> BinaryIO:
    del mode  # there is only one
    return io.BytesIO(self.content)

  def read_bytes(self) -> bytes:
    return self.content

  def __str__(self) -> str:
    return self.name


def key_and_ending(name: str) -> tuple[str, str]:
  """What a member belongs to, and what it holds: `a/b`, `jpg` of `a/b.jpg`.

  The ending begins at the first dot of the file's name, as WebDataset has it, or at the
  last one where only that is known; hidden files have none.
  """
  folder, slash, file = name.rpartition('/')
  if file.startswith('.'):
    return name, ''
  stem, _, ending = file.partition('.')
  if ending.lower() not in KNOWN and file.rpartition('.')[2].lower() in KNOWN:
    stem, _, ending = file.rpartition('.')
  return folder + slash + stem, ending.lower()


def size_problem(ending: str, size: int) -> str:
  """What is wrong with the size of a member; '' for nothing."""
  most = MAX_PICTURE_BYTES if ending in PICTURES else MAX_TEXT_BYTES
  if size <= most:
    return ''
  return f'expected at most {most:,} bytes; found {size:,}. Leave it out.'


def label_of(name: str) -> str:
  """The name of a member as a label; '' where it leads out of its archive."""
  if _is_plain(name):
    return name
  path = pathlib.PurePosixPath(name.replace('\\', '/'))
  inside = path.parts and not path.is_absolute() and '..' not in path.parts
  return str(path) if inside and '\0' not in name else ''


def _is_plain(name: str) -> bool:
  """Whether pathlib would leave a name as it is, which takes it microseconds."""
  odd = name[:1] in ('', '/', '.') or name[-1] == '/' or '\\' in name or '\0' in name
  return not odd and '/.' not in name and '//' not in name


def bad_sample(place: str, problem: str) -> Sample:
  """What stands for a picture that cannot be used."""
  return Sample(Entry(place, None, None, None, None, problem), b'')


def sample_of(members: Sequence[Member], *, before: str, asked: str) -> Sample | None:
  """The picture of the members that have one key; None where they are something else.

  Args:
    members: of known endings.
    before: what messages put before the name of a member.
    asked: what the user says of columns, see `columns.py`; for `json`.
  """
  pictures, contents = [], {}
  for member in members:
    if member.problem:
      return bad_sample(before + member.name, member.problem)
    contents[member.ending] = member.content
    if member.ending in PICTURES:
      pictures.append(member)
  has_text = not contents.keys().isdisjoint((*TEXTS, FIELDS))
  if not pictures and not has_text:
    return None
  name = (pictures or members)[0].name
  problem = _problem_of(pictures, has_text=has_text)
  if NAME in contents:
    name = contents[NAME].decode(errors='replace').strip()
  place, label = before + (pictures or members)[0].name, label_of(name)
  if not problem and not label:
    problem = f'expected a name inside of the archive; found {name!r}. Rename it.'
  if problem:
    return bad_sample(place, problem)
  try:
    captions, split = _captions_in(contents, asked=asked)
  except UserError as error:
    return bad_sample(place, str(error))
  return checked(Entry(place, label, captions, split, label), pictures[0].content)


def _problem_of(pictures: Sequence[Member], *, has_text: bool) -> str:
  """What is wrong with the pictures of one key and its text; '' for nothing."""
  if not pictures:
    return (
      'expected a picture of the same name (.jpg, .png, .webp, .tif, .img_content) '
      'beside the text; found none. Add it, or remove both.'
    )
  if len(pictures) > 1:
    names = ', '.join(each.name for each in pictures)
    return f'expected one picture of a name; found {names}. Keep one.'
  if not has_text:
    return (
      'expected a caption beside it, of the same name and .txt, .caption or .json; '
      'found none. Sort a tar by names (tar --sort=name), or remove the picture.'
    )
  return ''


def checked(entry: Entry, content: bytes) -> Sample:
  """The sample of an entry whose name is a label; its captions are looked at."""
  try:
    for caption in parse_row(entry, path_of=_as_it_is).captions:
      _check_text(caption)
  except UserError as error:
    return bad_sample(entry.place, str(error).removeprefix(f'{entry.place}: '))
  return Sample(entry, content)


def _as_it_is(label: str) -> str:
  return label


def joined(samples: Iterable[Sample]) -> Iterator[Sample]:
  """One sample of neighbours that are one picture: of one name, split and content."""
  for (bad, *_), group in itertools.groupby(samples, key=_identity):
    if bad:
      yield from group
      continue
    first, *others = group
    captions = [text for each in (first, *others) for text in each.entry.captions]
    yield first._replace(entry=first.entry._replace(captions=captions))


def _identity(sample: Sample) -> tuple:
  entry = sample.entry
  return bool(entry.problem), entry.image, entry.split, sample.content


def _captions_in(
  members: Mapping[str, bytes], *, asked: str
) -> tuple[list | None, object]:
  """The captions, and the split where the fields name one."""
  text = next((members[each] for each in TEXTS if each in members), None)
  if text is not None and not (asked and FIELDS in members):
    return [_decoded(text).strip()], None
  return _captions_of_fields(_parsed(members[FIELDS]), asked=asked)


def _decoded(text: bytes) -> str:
  try:
    return text.removeprefix(codecs.BOM_UTF8).decode()
  except UnicodeDecodeError as error:
    raise UserError(
      f'expected a caption in UTF-8; found byte {text[error.start]:#04x} at position '
      f'{error.start}. Save it as UTF-8.'
    ) from error


def _parsed(text: bytes) -> object:
  try:
    return json.loads(_decoded(text))
  except (ValueError, RecursionError) as error:
    raise UserError(f'expected JSON; {error}. Correct it.') from error


def _captions_of_fields(fields: object, *, asked: str) -> tuple[list | None, object]:
  if not isinstance(fields, dict):  # a text, or a list of them
    return texts_of(fields), None
  columns = _columns_of(tuple(fields), asked)
  captions = captions_of([fields.get(name) for name in columns.captions])
  return captions, fields.get(columns.split) if columns.split else None


# Members of an archive have few different sets of fields, most often one.
@functools.lru_cache(maxsize=256)
def _columns_of(names: tuple[str, ...], asked: str) -> Columns:
  return choose_columns(names, asked=asked, needs_image=False)


def _check_text(caption: str) -> None:
  if not caption or caption.isspace():
    raise UserError(f'expected a caption; found {caption!r}. Write one or remove it.')
  try:
    caption.encode()
  except UnicodeEncodeError as error:
    raise UserError(
      f'expected a caption of Unicode text; found {shorten(ascii(caption))}. Correct '
      'it.'
    ) from error
