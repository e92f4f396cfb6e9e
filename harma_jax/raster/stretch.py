"""Values of any kind to 8 bits."""

from typing import NamedTuple

import numpy as np

from harma_jax.raster.how import STRETCHES, range_of

PERCENTILES = (2, 98)


class Stretch(NamedTuple):
  """A line from values to 0 ... 255, cut off at both ends.

  Attributes:
    black: the value that becomes 0.
    white: the value that becomes 255; below `black` in a negative.
    by: why these.
  """

  black: float
  white: float
  by: str

  def reversed(self) -> 'Stretch':
    return Stretch(self.white, self.black, self.by)


def fixed_stretch(how: str, *, dtype: np.dtype, bits: int) -> Stretch | None:
  """What is known before any value is read; None where percentiles are asked for.

  Args:
    how: see `How.stretch`.
    dtype: of the values.
    bits: that are in use of it.

  Raises:
    ValueError: `none` of values without a range of their own.
  """
  is_byte = dtype == np.uint8
  if how == 'percent' or (how == 'auto' and not is_byte):
    return None
  if how not in STRETCHES and not is_byte:
    return Stretch(*range_of(how), 'as asked')
  if dtype not in (np.uint8, np.uint16):
    raise ValueError(
      f'{dtype} values, whose range is unknown; give the values that become black and '
      'white, stretch=MIN,MAX, or stretch=auto'
    )
  return Stretch(0, 2**bits - 1, f'{bits} bits')


def percentile_stretch(values: np.ndarray) -> Stretch:
  """From the lowest 2nd to the highest 98th percentile of all bands.

  One line for all bands keeps their hues. Pixels of 0 in all bands are left out, but
  of signed integers: fill, often enough, that no file marks as such. Where there is no
  value, or only one, it becomes black.

  Args:
    values: [n, bands], numbers; not finite ones are left out.
  """
  filled = (values != 0).any(-1) | (values.dtype.kind == 'i')
  values = values[filled] if filled.any() else values.reshape(-1, values.shape[-1])
  bands = [band[np.isfinite(band)] for band in np.moveaxis(values, -1, 0)]
  bands = [band for band in bands if len(band)] or [np.zeros(1)]
  found = [np.percentile(band, PERCENTILES) for band in bands]
  black, white = min(low for low, _ in found), max(high for _, high in found)
  if not white > black:
    white = black + 1
  by = 'percentiles {} to {}'.format(*PERCENTILES)
  return Stretch(float(black), float(white), by)


def make_table(stretch: Stretch, *, dtype: np.dtype) -> np.ndarray | None:
  """u8[values], by the bits of a value read as unsigned; None for more than 16 bits."""
  if dtype.kind not in 'iu' or dtype.itemsize > 2:
    return None
  unsigned = np.dtype(f'u{dtype.itemsize}')
  values = np.arange(2 ** (8 * dtype.itemsize)).astype(unsigned).view(dtype)
  return to_bytes(values, stretch)


def to_bytes(
  values: np.ndarray, stretch: Stretch, *, table: np.ndarray | None = None
) -> np.ndarray:
  """u8 of the same shape; what is not a number becomes 0.

  Args:
    values: numbers.
    stretch: of them.
    table: `make_table` of their dtype, which is quicker.
  """
  if table is not None:
    return table[values.view(f'u{values.dtype.itemsize}')]
  wide = np.float32 if values.dtype == np.float32 else np.float64
  span = stretch.white - stretch.black
  with np.errstate(over='ignore', invalid='ignore'):
    scaled = (values.astype(wide) - wide(stretch.black)) * wide(255) / wide(span)
  return np.rint(np.nan_to_num(np.clip(scaled, 0, 255))).astype(np.uint8)
