"""Which bands of a file are red, green and blue."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harma_jax.errors import UserError
from harma_jax.raster.how import band_words

COLORS = ('red', 'green', 'blue')
NANOMETRES = {'red': 660, 'green': 560, 'blue': 485}
NEAR = 45  # nanometres from there, at most

# Numbers of red, green and blue, by how products spell their bands.
_MODERN = (4, 3, 2)  # Sentinel-2; Landsat 8 and 9
_EARLIER = (3, 2, 1)  # Landsat 4 to 7
_MODIS = (1, 4, 3)
_NUMBERED = re.compile(
  r'(?<![a-z])(?:(sur_refl)_b|(sr_)?b(?:and)?[ _-]?)0*(\d+)(?![\da-z])'
)
_LENGTH = re.compile(r'(?<![\w.])(\d+(?:\.\d+)?)\s*(nm|nanomet\w*|[uµμ]m|micromet\w*)?')
# What is called red, green or blue and is not the band of that name.
_OTHERS = re.compile(r'edge|coastal|infra|near|(?:green|red|blue)[ _]?(?:i|1)\b|ratio')


class Choice(NamedTuple):
  """Bands to be shown.

  Attributes:
    numbers: counted from 1, of red, green and blue; or one of grey or of a palette.
    by: why these.
    is_guess: the file says nothing of them.
  """

  numbers: tuple[int, ...]
  by: str
  is_guess: bool = False


def choose_bands(
  wanted: str,
  *,
  colors: Sequence[str],
  descriptions: Sequence[str | None],
  wavelengths: Sequence[float | None] = (),
) -> Choice:
  """The bands that are shown of a file.

  Descriptions come before the interpretation of colours, as the writers of files of
  three bands call them red, green and blue whatever they hold.

  Args:
    wanted: see `How.bands`; '' to find out.
    colors: GDAL's interpretation of each band.
    descriptions: of each band, where there is one.
    wavelengths: of each band in nanometres, where known.

  Raises:
    UserError: a band that is wanted is not there.
  """
  if wanted:
    found = tuple(
      _find(word, colors=colors, descriptions=descriptions)
      for word in band_words(wanted)
    )
    return Choice(found, 'as asked')
  if colors[0] == 'palette':
    return Choice((1,), 'palette')
  if colors[:4] == ('cyan', 'magenta', 'yellow', 'black'):
    return Choice((1, 2, 3, 4), 'inks')
  texts = [(text or '').strip().lower() for text in descriptions]
  described = (
    _by_word(texts)
    or _nearest(wavelengths)
    or _nearest(list(_lengths(texts)))
    or _by_number(texts)
  )
  if described:
    return Choice(described, 'descriptions')
  if all(color in colors for color in COLORS):
    return Choice(tuple(colors.index(color) + 1 for color in COLORS), 'colours')
  of_image = [i for i, color in enumerate(colors, 1) if color != 'alpha']
  if len(of_image) < 3:
    return Choice((of_image[0] if of_image else 1,), 'grey')
  return Choice(tuple(of_image[:3]), 'the first three', is_guess=True)


def _find(
  word: str, *, colors: Sequence[str], descriptions: Sequence[str | None]
) -> int:
  """The number of the band that a user means."""
  if word.isdecimal() and 1 <= int(word) <= len(colors):
    return int(word)
  spelled = [_plain(text or '') for text in descriptions]
  if not word.isdecimal() and _plain(word) in spelled:
    return spelled.index(_plain(word)) + 1
  if word.lower() in colors:
    return colors.index(word.lower()) + 1
  named = ', '.join(text for text in descriptions if text)
  called = f', called {named}' if named else ''
  raise UserError(
    f'bands: expected one of the {len(colors)} bands{called}; found {word!r}.'
  )


def _plain(text: str) -> str:
  """`B04`, `b4` and `B 4` are one."""
  return re.sub(r'(?<!\d)0+(?=\d)', '', re.sub(r'[\W_]+', '', text.lower()))


def _by_word(texts: Sequence[str]) -> tuple[int, ...] | None:
  """Bands called by their colour: exactly, else as a word of several."""
  found = []
  for color in COLORS:
    exact = [i for i, text in enumerate(texts, 1) if text == color]
    within = [
      i
      for i, text in enumerate(texts, 1)
      if re.search(rf'(?<![a-z]){color}(?![a-z])', text) and not _OTHERS.search(text)
    ]
    found += (exact or within)[:1]
  return tuple(found) if len(set(found)) == 3 else None


def _by_number(texts: Sequence[str]) -> tuple[int, ...] | None:
  """Bands called by their number in a product, and not just counted."""
  if all(re.fullmatch(rf'band[ _-]?0*{i}', text) for i, text in enumerate(texts, 1)):
    return None
  number, families = {}, set()
  for i, text in enumerate(texts, 1):
    match = _NUMBERED.search(text)
    if match:
      number.setdefault(int(match[3]), i)
      families.add(match[1] or match[2] or '')
  for numbers in _products(number, families):
    if all(wanted in number for wanted in numbers):
      return tuple(number[wanted] for wanted in numbers)
  return None


def _products(number: Mapping[int, int], families: set[str]) -> Iterator[tuple]:
  if 'sur_refl' in families:
    yield _MODIS
  elif 'sr_' in families and {1, 5, 7} <= number.keys() and 6 not in number:
    yield _EARLIER
  else:
    yield from (_MODERN, _EARLIER)


def _lengths(texts: Sequence[str]) -> Iterator[float | None]:
  """Nanometres that descriptions name; a bare number only where it is all there is."""
  for text in texts:
    matches = list(_LENGTH.finditer(text))
    named = [match for match in matches if match[2]]
    if not named and len(matches) == 1 and matches[0][0].strip() == text:
      named = matches
    yield nanometres(float(named[0][1]), named[0][2] or '') if named else None


def nanometres(length: float, unit: str = '') -> float | None:
  """A wavelength; without a unit micrometres below 100. None for what is no light."""
  is_micro = unit[:1] in ('u', 'µ', 'μ') or unit.startswith('micro')
  length = length * 1000 if is_micro or (not unit and length < 100) else length
  return length if 300 <= length <= 20_000 else None


def _nearest(wavelengths: Sequence[float | None]) -> tuple[int, ...] | None:
  """The bands nearest to red, green and blue light, where all three are near."""
  known = {i: length for i, length in enumerate(wavelengths, 1) if length}
  found = []
  for color in COLORS:
    aim = NANOMETRES[color]
    best = min(known, key=lambda i: abs(known[i] - aim), default=None)
    if best is None or abs(known[best] - aim) > NEAR:
      return None
    found.append(best)
  return tuple(found) if len(set(found)) == 3 else None
