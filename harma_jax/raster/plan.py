"""How the values of a file that GDAL opens become colours, found once for all of it."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from harma_jax.raster.bands import Choice, choose_bands, nanometres
from harma_jax.raster.formats import TiffHeader
from harma_jax.raster.how import How
from harma_jax.raster.no_data import NoData, find_no_data, is_alpha, valid_pixels
from harma_jax.raster.stretch import (
  Stretch,
  fixed_stretch,
  percentile_stretch,
  to_bytes,
)

SAMPLE = 2**20  # pixels, about, that percentiles are taken from
LARGEST_BLOCK = 2**28  # bytes

_PHOTOMETRICS = (0, 1, 2, 3, 4, 5, 6)
_OTHER_COLORS = {'hue', 'saturation', 'lightness', 'Y', 'Cb', 'Cr'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """How values become colours.

  Attributes:
    choice: the bands.
    dtype: of their values.
    stretch: of them; None for a palette's and inks.
    palette: u8[values, 3], or None.
    no_data: how pixels without data are marked.
    notes: what else a user should know.
  """

  choice: Choice
  dtype: np.dtype
  stretch: Stretch | None
  palette: np.ndarray | None
  no_data: NoData
  notes: tuple[str, ...] = ()

  @property
  def changes(self) -> bool:
    """Whether values are not colours as they are."""
    stretch = self.stretch
    return stretch is not None and (
      self.dtype != np.uint8 or (stretch.black, stretch.white) != (0, 255)
    )

  def facts(self) -> dict:
    """All of it as JSON has it."""
    facts = {
      'dtype': str(self.dtype),
      'bands': list(self.choice.numbers),
      'bands_by': self.choice.by,
    }
    if self.changes:
      facts['stretch'] = [self.stretch.black, self.stretch.white]
      facts['stretch_by'] = self.stretch.by
    if self.no_data.by:
      facts['no_data'] = self.no_data.by
    return facts | ({'notes': list(self.notes)} if self.notes else {})


def check_dataset(scene, header: TiffHeader | None) -> None:
  """Raises ValueError for what would be read wrongly, or take too much memory."""
  if header and header.photometric not in _PHOTOMETRICS:
    raise ValueError(f'colours of kind {header.photometric} of TIFF; export it as RGB')
  others = _OTHER_COLORS & {color.name for color in scene.colorinterp}
  if others:
    raise ValueError(f'colours as {", ".join(sorted(others))}; export it as RGB')
  if np.dtype(scene.dtypes[0]).kind not in 'iuf':
    raise ValueError(f'{scene.dtypes[0]} values; export their absolute values')
  height, width = scene.block_shapes[0]
  interleave = scene.tags(ns='IMAGE_STRUCTURE').get('INTERLEAVE')
  together = scene.count if interleave == 'PIXEL' else 1
  if width * height * together * np.dtype(scene.dtypes[0]).itemsize > LARGEST_BLOCK:
    raise ValueError(
      f'blocks of {width} x {height} pixels; write it in tiles: gdal_translate -co '
      'TILED=YES -co COMPRESS=DEFLATE IN OUT'
    )


def make_plan(
  scene, *, how: How, header: TiffHeader | None, unit: tuple[int, int]
) -> Plan:
  """The plan of a rasterio dataset; reads a sample of it where it needs one.

  Args:
    scene: the dataset.
    how: what the user says.
    header: of a TIFF.
    unit: width and height of what is decoded at once.

  Raises:
    UserError: a band that is wanted is not there.
    ValueError: values whose range is unknown.
  """
  colors = tuple(color.name for color in scene.colorinterp)
  choice = choose_bands(
    how.bands,
    colors=colors,
    descriptions=scene.descriptions,
    wavelengths=[_wavelength(scene, band) for band in scene.indexes],
  )
  numbers, notes = choice.numbers, []
  alpha = colors.index('alpha') + 1 if 'alpha' in colors else 0
  if alpha in numbers:
    alpha = 0
  if alpha and not _is_alpha(scene, alpha, unit=unit):
    notes.append(f'band {alpha} is called alpha and is none')
    alpha = 0
  if header and header.ignored > 1:
    notes.append('not turned as its orientation says: it has a georeference')
  no_data = find_no_data(scene, numbers, alpha=alpha)
  dtype = np.dtype(scene.dtypes[numbers[0] - 1])
  palette = _palette(scene) if choice.by == 'palette' else None
  stretch = None
  if palette is None and choice.by != 'inks':
    stretch = _find_stretch(scene, how, choice=choice, no_data=no_data, unit=unit)
  elif dtype != np.uint8 and palette is None:
    raise ValueError(f'{dtype} inks; export it as RGB')
  return Plan(
    choice=choice,
    dtype=dtype,
    stretch=stretch,
    palette=palette,
    no_data=no_data,
    notes=tuple(notes),
  )


def read_values(scene, bands: Sequence[int], window, *, shape=None) -> np.ndarray:
  """[H, W, bands] of a window, or of all in `shape` = (height, width)."""
  height, width = shape or (int(window.height), int(window.width))
  dtype = scene.dtypes[bands[0] - 1]
  values = np.empty((height, width, len(bands)), dtype)
  scene.read(list(bands), window=window, out=np.moveaxis(values, -1, 0))
  return values


def read_valid(
  scene, values: np.ndarray, no_data: NoData, window, *, shape=None
) -> np.ndarray | None:
  """bool[H, W] of a window, or None where all of it holds data; see `read_values`."""
  shape = shape or values.shape[:2]
  parts = [valid_pixels(values, no_data)]
  if no_data.alpha:
    parts.append(scene.read(no_data.alpha, window=window, out_shape=shape) > 0)
  if no_data.masked:
    parts.append(scene.read_masks(1, window=window, out_shape=shape) > 0)
  parts = [part for part in parts if part is not None and not part.all()]
  return np.logical_and.reduce(parts) if parts else None


def to_colors(
  values: np.ndarray, valid: np.ndarray | None, plan: Plan, *, table: np.ndarray | None
) -> np.ndarray:
  """u8[H, W, 3], or u8[H, W, 1] of grey.

  Values that are stretched are 0 where there is no data; colours stay as they are.
  """
  if plan.palette is not None:
    return plan.palette[np.clip(values[..., 0], 0, len(plan.palette) - 1)]
  if plan.choice.by == 'inks':
    return np.asarray(Image.fromarray(values, 'CMYK').convert('RGB'))
  if not plan.changes:
    return values
  colors = to_bytes(values, plan.stretch, table=table)
  if valid is not None and plan.dtype != np.uint8:
    colors[~valid] = 0
  return colors


def _find_stretch(
  scene, how: How, *, choice: Choice, no_data: NoData, unit: tuple[int, int]
) -> Stretch:
  band = choice.numbers[0]
  dtype, structure = np.dtype(scene.dtypes[band - 1]), 'IMAGE_STRUCTURE'
  bits = int(scene.tags(band, ns=structure).get('NBITS', 8 * dtype.itemsize))
  stretch = fixed_stretch(how.stretch, dtype=dtype, bits=bits)
  if stretch is None:
    parts = []
    for values, valid in _sample(scene, choice.numbers, no_data=no_data, unit=unit):
      parts.append(
        values.reshape(-1, values.shape[-1]) if valid is None else values[valid]
      )
    stretch = percentile_stretch(np.concatenate(parts))
  negative = scene.tags(ns=structure).get('MINISWHITE') == 'YES'
  return stretch.reversed() if negative else stretch


def _sample(
  scene, bands: Sequence[int], *, no_data: NoData, unit: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Values of the whole scene, thinned out, and which of them are data.

  Of an overview where there is one, else of units that are spread evenly.
  """
  width, height = scene.width, scene.height
  step = math.sqrt(width * height / SAMPLE)
  if step <= 1 or any(2 <= factor <= 2 * step for factor in scene.overviews(bands[0])):
    step = max(step, 1)
    shape = max(round(height / step), 1), max(round(width / step), 1)
    values = read_values(scene, bands, None, shape=shape)
    yield values, read_valid(scene, values, no_data, None, shape=shape)
    return
  for window in spread_windows(width, height, unit=unit):
    values = read_values(scene, bands, window)
    yield values, read_valid(scene, values, no_data, window)


def spread_windows(width: int, height: int, *, unit: tuple[int, int]) -> Iterator:
  """Units in rows and columns over a scene, together at most about `SAMPLE` pixels."""
  from rasterio.windows import Window

  across, down = -(-width // unit[0]), -(-height // unit[1])
  count = max(SAMPLE // (unit[0] * unit[1]), 1)
  columns = min(across, max(round(math.sqrt(count * width / height)), 1))
  rows = min(down, max(count // columns, 1))
  for row in range(rows):
    for column in range(columns):
      left = (2 * column + 1) * across // (2 * columns) * unit[0]
      top = (2 * row + 1) * down // (2 * rows) * unit[1]
      size = min(unit[0], width - left), min(unit[1], height - top)
      yield Window(left, top, *size)


def _is_alpha(scene, band: int, *, unit: tuple[int, int]) -> bool:
  parts = [
    values.ravel() for values, _ in _sample(scene, (band,), no_data=NoData(), unit=unit)
  ]
  return is_alpha(np.concatenate(parts))


def _wavelength(scene, band: int) -> float | None:
  """Nanometres, as GDAL or ENVI note them."""
  micrometres = scene.tags(band, ns='IMAGERY').get('CENTRAL_WAVELENGTH_UM')
  tags = {name.lower(): value for name, value in scene.tags(band).items()}
  found = micrometres or tags.get('wavelength')
  try:
    unit = 'um' if micrometres else tags.get('wavelength_units', '').lower()
    return nanometres(float(found), unit) if found else None
  except ValueError:
    return None


def _palette(scene) -> np.ndarray:
  """u8[n, 3], the colours by the values of the band."""
  colors = scene.colormap(1)
  table = np.zeros((max(colors) + 1, 3), np.uint8)
  for value, color in colors.items():
    table[value] = color[:3]
  return table
