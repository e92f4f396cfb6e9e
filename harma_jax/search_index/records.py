"""What was found as rows of plain values: for tables of other programs."""

from collections.abc import Sequence

import numpy as np

from harma_jax.errors import UserError
from harma_jax.search_index.query import Hit

# What `record_of` gives, in this order.
COLUMNS = ('rank', 'image', 'similarity', 'left', 'top', 'width', 'height')


def record_of(hit: Hit, *, rank: int) -> dict[str, int | float | str]:
  """The values of `COLUMNS`; of the box in pixels, a similarity of six digits."""
  box = dict(zip(COLUMNS[3:], hit.box, strict=True))
  similarity = round(hit.similarity, 6)
  return {'rank': rank, 'image': readable(hit.image), 'similarity': similarity, **box}


def readable(name: str) -> str:
  """A file name with marks for the bytes that are no UTF-8."""
  return name.encode(errors='surrogateescape').decode(errors='replace')


def centre_of(corners: np.ndarray) -> np.ndarray:
  """Longitude and latitude of the middles of boxes, f64[n, 2] of f64[n, 4, 2].

  The mean on the sphere, which knows neither longitude 180 nor poles.
  """
  longitude, latitude = np.radians(np.moveaxis(corners, -1, 0))
  level = np.cos(latitude)
  vectors = [level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)]
  x, y, z = (vector.mean(axis=-1) for vector in vectors)
  return np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))]).T


def no_place(flag: str) -> UserError:
  """That a map is asked for where nothing has a place."""
  return UserError(
    f'{flag}: expected hits with a georeference; found none. Index GeoTIFFs, with '
    "rasterio installed: pip install 'harma_jax[geo]'"
  )


def placed(hits: Sequence[Hit], *, flag: str) -> list[tuple[int, Hit]]:
  """The hits that have a place, with their ranks from 1.

  Raises:
    UserError: none has.
  """
  found = [(rank, hit) for rank, hit in enumerate(hits, 1) if hit.corners]
  if not found:
    raise no_place(flag)
  return found
