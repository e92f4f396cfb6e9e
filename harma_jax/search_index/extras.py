"""Libraries that not all searches need, or one message of what to install."""

from types import ModuleType

from harma_jax.errors import UserError


def pyarrow(flag: str) -> tuple[ModuleType, ModuleType]:
  """pyarrow and pyarrow.parquet, for what `flag` asks.

  Raises:
    UserError: not installed.
  """
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError as error:
    raise _missing(flag, 'pyarrow', extra='parquet') from error
  return pa, pq


def rasterio(flag: str) -> ModuleType:
  """rasterio with rasterio.warp, for what `flag` asks.

  Raises:
    UserError: not installed.
  """
  try:
    import rasterio
    import rasterio.warp
  except ImportError as error:
    raise _missing(flag, 'rasterio', extra='geo') from error
  return rasterio


def shapely(flag: str) -> ModuleType:
  """shapely, for what `flag` asks.

  Raises:
    UserError: not installed.
  """
  try:
    import shapely
  except ImportError as error:
    raise _missing(flag, 'shapely', extra='geo') from error
  return shapely


def _missing(flag: str, library: str, *, extra: str) -> UserError:
  return UserError(
    f"{flag}: expected {library}; it is not installed. pip install 'harma_jax[{extra}]'"
  )
