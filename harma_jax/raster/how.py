"""What the user may say of bands and values, and whether it can be meant."""

import math
import re
from typing import NamedTuple

from harma_jax.errors import UserError

STRETCHES = ('auto', 'none', 'percent')  # or two numbers


class How(NamedTuple):
  """How the values of a file become colours.

  Attributes:
    bands: `4,3,2` or names, `B4,B3,B2`, of red, green and blue; or one of grey; '' for
      those that the file names.
    stretch: `auto` keeps 8 bits as they are and stretches others like `percent`, from
      the 2nd to the 98th percentile; `MIN,MAX` stretches others from MIN to MAX; `none`
      takes the full range of up to 16 bits.
    min_valid: the share of a box's pixels that must hold data.
  """

  bands: str = ''
  stretch: str = 'auto'
  min_valid: float = 0.01


DEFAULT = How()


def how_of(
  *, bands: str | None, stretch: str | None, others: How = DEFAULT, **changes
) -> How:
  """What a command line says, and of what it does not say, `others`.

  Raises:
    UserError: as `check_how`, in the names of flags.
  """
  said = {'bands': bands, 'stretch': stretch} | changes
  said = {name: value for name, value in said.items() if value is not None}
  how = others._replace(**said)
  try:
    check_how(how)
  except UserError as error:
    raise UserError(f'--{error}') from error
  return how


def check_how(how: How) -> None:
  """Raises UserError where no file could be read so."""
  bands = band_words(how.bands)
  if how.bands and (len(bands) not in (1, 3) or not all(bands)):
    raise UserError(
      'bands: expected red, green and blue, or one of grey, by number or name, as in '
      f'4,3,2 or B4,B3,B2; found {how.bands!r}.'
    )
  if how.stretch not in STRETCHES:
    range_of(how.stretch)
  if not 0 <= how.min_valid <= 1:
    raise UserError(f'min_valid: expected a share, 0 to 1; found {how.min_valid}.')


def band_words(bands: str) -> tuple[str, ...]:
  """The bands that `How.bands` names, one word each."""
  return tuple(word.strip() for word in bands.split(',')) if bands.strip() else ()


def range_of(stretch: str) -> tuple[float, float]:
  """The values that become black and white by `MIN,MAX`.

  Raises:
    UserError: it is none.
  """
  try:
    low, high = map(float, re.split(r'\s*,\s*', stretch))
  except ValueError:
    low = high = math.nan
  if not (math.isfinite(low) and math.isfinite(high) and low < high):
    raise UserError(
      f'stretch: expected {", ".join(STRETCHES)} or MIN,MAX, as in 0,3000; found '
      f'{stretch!r}.'
    )
  return low, high
