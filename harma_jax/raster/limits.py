"""How large an image may be, and what is said of one that cannot be read."""

import contextlib
from collections.abc import Iterator

from harma_jax.errors import UserError

# The formats of remote-sensing folders, told by content and not by the file's ending.
# No other parser runs: each more is one more that a stranger's file can attack.
FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP', 'JPEG2000')

# 268 MB as RGB; from here on Pillow warns of a decompression bomb.
MAX_PIXELS = 89_478_485

TILING = (
  'cut it into tiles of about the size that the model sees (search index does, with '
  '--tile=256) or, in training and where the host has the memory, raise max_pixels, up '
  'to 178,956,970'
)
GDAL_IS_MISSING = "its kind is read by GDAL: pip install 'harma_jax[geo]'"


def check_size(width: int, height: int, *, max_pixels: int) -> None:
  """Raises ValueError for an image of no pixels, or of more than `max_pixels`."""
  if not width * height:
    raise ValueError(f'{width} x {height} pixels')
  if width * height > max_pixels:
    raise ValueError(
      f'{width} x {height} pixels, more than max_pixels = {max_pixels:,}; {TILING}'
    )


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
  """Makes one message to the user of whatever is wrong with the file `name`."""
  try:
    yield
  except UserError as error:
    raise UserError(f'{name}: {error}') from error
  # Neither Pillow nor rasterio documents a limit to what hostile files raise.
  except Exception as error:
    found = said(error).rstrip('.')
    raise UserError(
      f'{name}: expected a readable image ({", ".join(FORMATS)}); found: {found}. '
      'Replace the file, or leave it out.'
    ) from error


def said(error: BaseException) -> str:
  """What is wrong: of rasterio's `Read failed. See previous ...` what came before."""
  while error.__cause__ is not None and 'previous exception' in str(error):
    error = error.__cause__
  return str(error) or type(error).__name__
