"""Which column of a table holds the image, which the captions, which the split.

Names are compared without case and blanks around them. What is not known by its name is
asked for: `image=NAME,caption=NAME,split=NAME`, each where it differs, `caption` as
often as there are columns of captions.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harma_jax.errors import UserError

# In order of preference: of an image and a file's name beside it, the image counts.
IMAGES = (
  *('image', 'filepath', 'file_path', 'filename', 'file_name', 'path'),
  *('img_path', 'image_path', 'image_file', 'image_name', 'img', 'file'),
  *('global_filepath', 'image_src'),  # of MGRS-200k; of GAIA, an address
)
CAPTIONS = (
  *('caption', 'captions', 'title', 'title_multi_objects', 'text', 'texts'),
  *('sentence', 'sentences', 'raw'),
  *('global_caption', 'detailed_caption', 'brief_caption'),  # of MGRS-200k
)
SPLITS = ('split',)

# Columns of captions that are taken together; so are those that a number tells apart.
_TOGETHER = dict.fromkeys(('detailed_caption', 'brief_caption'), 'global_caption')
# Of SkyScript: the caption of the object in the middle, and one that adds its
# surroundings. A file has both.
_YIELDS = {'title_multi_objects': 'title'}
_KEYS = ('image', 'caption', 'split')


class Columns(NamedTuple):
  """The columns of a table by what they hold, named as in the file.

  Attributes:
    image: of the image or its file's name; '' where there is none.
    captions: of the texts, in the order of the file.
    split: of the split's name; '' where there is none.
    file: of the file's name where `image` holds something else too, '' for none.
    left: that could have been taken for an image or a caption and are not.
  """

  image: str
  captions: tuple[str, ...]
  split: str = ''
  file: str = ''
  left: tuple[str, ...] = ()

  def __str__(self) -> str:
    """What was taken for what, as `asked` has it, and what was not taken."""
    taken = [('image', self.image), *(('caption', name) for name in self.captions)]
    taken.append(('split', self.split))
    said = ','.join(f'{key}={name}' for key, name in taken if name)
    left = f' (not taken: {", ".join(self.left)})' if self.left else ''
    return said + left


def choose_columns(
  names: Sequence[str], *, asked: str = '', place: str = '', needs_image: bool = True
) -> Columns:
  """Decides which column is what.

  Args:
    names: of all columns, as the file has them.
    asked: what the user says of them, see above.
    place: of the names, which a message begins with.
    needs_image: whether a table without a column of images is a mistake.

  Raises:
    UserError: a column that is asked for is not there; no image or no caption is known
      by its name, or several columns hold captions.
  """
  found = {key: _asked_of(names, wanted) for key, wanted in read_asked(asked).items()}
  missing = [name for wanted in found.values() for name in wanted if name not in names]
  if missing:
    raise UserError(
      f'{_at(place)}expected the column {missing[0]!r} that is asked for; found '
      f'{_list(names)}. Correct --config.data.columns.'
    )
  images = found.get('image') or _known(names, IMAGES)
  captions = found.get('caption') or _captions_among(names, place=place)
  if (needs_image and not images) or not captions:
    raise _unknown(names, images=images, captions=captions, place=place)
  splits = found['split'] if 'split' in found else _known(names, SPLITS)
  known = [*_known(names, IMAGES), *_caption_names(names)]
  image = images[0] if images else ''
  return Columns(
    image=image,
    captions=tuple(captions),
    split=splits[0] if splits else '',
    file=next((name for name in images[1:] if _plain(name) != 'image_src'), ''),
    left=tuple(name for name in known if name not in (image, *captions)),
  )


@functools.lru_cache(maxsize=64)
def read_asked(asked: str) -> Mapping[str, tuple[str, ...]]:
  """What the user says of the columns: names by `image`, `caption` and `split`.

  Raises:
    UserError: it is not of the form `image=NAME,caption=NAME`.
  """
  found = {}
  for part in filter(None, asked.split(',')):
    key, equals, name = part.partition('=')
    key, name = key.strip(), name.strip()
    if not equals or key not in _KEYS or (not name and key != 'split'):
      raise UserError(
        f"data.columns: expected 'image=NAME,caption=NAME,split=NAME', or some of "
        f"them; found {part!r}. Pass --config.data.columns='image=NAME,caption=NAME'."
      )
    found.setdefault(key, []).extend([name] if name else [])
  for key in ('image', 'split'):
    if len(found.get(key, ())) > 1:
      raise UserError(
        f'data.columns: expected one column of the {key}; found {_list(found[key])}. '
        'Only caption may be there several times.'
      )
  return {key: tuple(names) for key, names in found.items()}


def texts_of(value: object) -> list | None:
  """The captions that a cell holds: a text, a list of texts, or of `{"raw": text}`.

  Returns:
    A list, whose items may be no texts; None where the cell holds nothing.
  """
  if isinstance(value, str):
    return [value]
  if value is None or not isinstance(value, Iterable) or isinstance(value, Mapping):
    return None if value is None else [value]
  return [_text_of(item) for item in value]


def _text_of(item: object) -> object:
  if not isinstance(item, Mapping):
    return item
  return next((item[key] for key in ('raw', 'caption', 'text') if key in item), item)


def _plain(name: object) -> str:
  """A name as it is compared."""
  return str(name).strip().lower()


def _asked_of(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
  """What is asked for as the file spells it, where it has it."""
  spelled = {_plain(name): name for name in reversed(names)}
  return [name if name in names else spelled.get(_plain(name), name) for name in wanted]


def _known(names: Sequence[str], known: Sequence[str]) -> list[str]:
  """The columns of these names, in the order of `known`."""
  spelled = {_plain(name): name for name in reversed(names)}
  return [spelled[name] for name in known if name in spelled]


def _caption_names(names: Sequence[str]) -> list[str]:
  return [name for name in names if _family(name)]


def _family(name: str) -> str:
  """What a column of captions belongs to; '' where the name is none of one."""
  plain = _plain(name)
  base = plain if plain in CAPTIONS else re.sub(r'[ _-]?\d+$', '', plain)
  return _TOGETHER.get(base, base) if base in CAPTIONS else ''


def _captions_among(names: Sequence[str], *, place: str) -> list[str]:
  families = {}
  for name in _caption_names(names):
    families.setdefault(_family(name), []).append(name)
  for name, other in _YIELDS.items():
    if other in families:
      families.pop(name, None)
  if len(families) > 1:
    firsts = [members[0] for members in families.values()]
    several = ','.join(f'caption={name}' for name in firsts)
    raise UserError(
      f'{_at(place)}expected one column of captions; found {_list(firsts)}. Choose: '
      f"--config.data.columns=caption={firsts[0]}; '{several}' takes several."
    )
  return next(iter(families.values()), [])


def _unknown(
  names: Sequence[str],
  *,
  images: Sequence[str],
  captions: Sequence[str],
  place: str,
) -> UserError:
  """What to raise of a table in which images or captions are not known."""
  wanted = {'image': images, 'caption': captions}
  asks = ','.join(f'{key}=NAME' for key, found in wanted.items() if not found)
  taken = [f'{key}={found[0]}' for key, found in wanted.items() if found]
  has = f', of which {taken[0]} is taken' if taken else ''
  return UserError(
    f'{_at(place)}expected the columns image and caption, under one of the names '
    f'{", ".join(IMAGES[:7])} ... and {", ".join(CAPTIONS[:6])} ...; found '
    f'{_list(names)}{has}. Name them: --config.data.columns={asks}'
  )


def _at(place: str) -> str:
  return f'{place}: ' if place else ''


def _list(names: Sequence[str], *, most: int = 120) -> str:
  text = ', '.join(map(str, names))
  return text if 0 < len(text) <= most else repr(text[:most]) + '...' * bool(text)
