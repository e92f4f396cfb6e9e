"""The rows of an index that lie at a point of the earth."""

import numpy as np

from harma_jax.errors import UserError


def read_point(text: str) -> tuple[float, float]:
  """Longitude and latitude of `LON,LAT` in degrees.

  Raises:
    UserError: it is none.
  """
  try:
    longitude, latitude = map(float, text.split(','))
  except ValueError:
    longitude = latitude = np.nan
  if not (abs(longitude) <= 360 and abs(latitude) <= 90):
    raise UserError(
      '--at: expected LON,LAT in degrees, longitude first, as in --at=8.54,47.37; '
      f'found {text!r}.'
    )
  return longitude, latitude


def rows_at(corners: np.ndarray, point: tuple[float, float]) -> np.ndarray:
  """i64[k], the rows whose boxes hold a point.

  Args:
    corners: f64[n, 4, 2], see `Index`; NaN where not known.
    point: longitude and latitude.

  Raises:
    UserError: none does.
  """
  places = np.array(point) - corners
  # The turn in which the box lies: corners run on over longitude 180.
  places[..., 0] -= 360 * np.round(places[..., 0].mean(axis=1) / 360)[:, None]
  following = np.roll(places, -1, axis=1)
  # On which side of each edge the point is: the same of all four, inside.
  sides = places[..., 0] * following[..., 1] - places[..., 1] * following[..., 0]
  rows = np.flatnonzero((sides >= 0).all(axis=1) | (sides <= 0).all(axis=1))
  if not len(rows):
    n_placed = np.isfinite(corners).all(axis=(1, 2)).sum()
    raise UserError(
      f'--at: expected a point that the index has something of; found none of the '
      f'{n_placed:,} rows with a place at {point[0]:g}, {point[1]:g} '
      f'({len(corners) - n_placed:,} have none). Longitude comes first.'
    )
  return rows
