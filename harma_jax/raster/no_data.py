"""Which pixels of a file hold data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class NoData(NamedTuple):
  """How a file marks pixels that hold no data; nothing is left out by default.

  Attributes:
    values: in all shown bands at once; None for a band without such a value.
    alpha: the number of a band that is 0 there, or 0.
    masked: the file has a mask.
    by: what of these it is, in words.
  """

  values: tuple[float | None, ...] = ()
  alpha: int = 0
  masked: bool = False
  by: str = ''


def find_no_data(scene, bands: Sequence[int], *, alpha: int) -> NoData:
  """What a rasterio dataset says of pixels without data, where `bands` are shown.

  Args:
    scene: the dataset.
    bands: counted from 1.
    alpha: the band that is one, or 0.
  """
  from rasterio.enums import MaskFlags

  flags = scene.mask_flag_enums[bands[0] - 1]
  masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
  values = tuple(scene.nodatavals[band - 1] for band in bands)
  values = values if None not in values else ()
  words = [f'the value {values[0]:g}'] if values else []
  words += [f'alpha, band {alpha}'] if alpha else []
  words += ['a mask'] if masked else []
  return NoData(values=values, alpha=alpha, masked=masked, by=' and '.join(words))


def valid_pixels(values: np.ndarray, no_data: NoData) -> np.ndarray | None:
  """bool[H, W] by the values alone, or None where all pixels hold data.

  A pixel is left out where each of its bands has the value for no data, or none is a
  number.

  Args:
    values: [H, W, bands].
    no_data: of these bands.
  """
  missing = [np.isnan(values).all(-1)] if values.dtype.kind == 'f' else []
  if no_data.values and not all(map(np.isnan, no_data.values)):
    # A float of 32 bits is not what its marker is in 64.
    dtype = values.dtype if values.dtype.kind == 'f' else None
    missing.append((values == np.array(no_data.values, dtype)).all(-1))
  missing = [part for part in missing if part.any()]
  return ~np.logical_or.reduce(missing) if missing else None


def is_alpha(values: np.ndarray) -> bool:
  """Whether values that a file calls alpha can be: mostly off or fully on.

  A band of near infrared is called so by mere position in files of four bands.
  """
  if not values.size:
    return True
  return np.isin(values, (0, values.max())).mean() >= 0.5
