"""Opens files by GDAL as files from strangers are opened."""

import contextlib
import functools
import logging
import pathlib
import threading
import warnings
from collections.abc import Iterator

from harma_jax.raster.formats import DRIVERS, TIFF_STARTS

# GDAL's own blocks: ours are read once, and kept by their reader.
CACHE_BYTES = 64 * 2**20

OPTIONS = {
  # What belongs to a file is asked for by name: no listing of folders.
  'GDAL_DISABLE_READDIR_ON_OPEN': 'TRUE',
  # An .aux.xml may name any other file as its overviews.
  'GDAL_PAM_ENABLED': 'NO',
  'CPL_VSIL_CURL_ALLOWED_EXTENSIONS': '{none}',
  'GDAL_ERROR_ON_LIBJPEG_WARNING': 'TRUE',
  'GDAL_NUM_THREADS': '1',  # the threads are those of the caller
  'GDAL_CACHEMAX': CACHE_BYTES,
}

# GDAL opens these beside a file by any driver it has, be it one that reads others.
_SIDECARS = ('.ovr', '.msk')


_here = threading.local()  # `reading` in threads that are within `careful`


@contextlib.contextmanager
def careful() -> Iterator[None]:
  """GDAL's settings in this thread, for opening and for reading."""
  import rasterio

  _quieten(rasterio.errors.NotGeoreferencedWarning)
  with rasterio.Env(**OPTIONS):
    before, _here.reading = getattr(_here, 'reading', False), True
    try:
      yield
    finally:
      _here.reading = before


@functools.cache
def _quieten(not_georeferenced: type[Warning]) -> None:
  """What is wrong is raised; and a picture need not have a georeference."""
  warnings.simplefilter('ignore', not_georeferenced)
  for name in ('rasterio._env', 'rasterio._err'):
    log = logging.getLogger(name)
    log.addFilter(lambda record: not getattr(_here, 'reading', False))


def open_dataset(source: pathlib.Path | bytes, *, kind: str):
  """A rasterio dataset of a file of this machine, by one driver alone.

  Args:
    source: the file, or what is in it.
    kind: one of `DRIVERS`.

  Raises:
    ValueError: it brings along what must not be read.
    Exception: of rasterio; it cannot be read.
  """
  import rasterio

  with careful():
    if isinstance(source, bytes):
      return rasterio.MemoryFile(source).open(driver=DRIVERS[kind])
    path = source.absolute()
    _check_sidecars(path)
    return rasterio.open(path, driver=DRIVERS[kind])


def _check_sidecars(path: pathlib.Path) -> None:
  for suffix in _SIDECARS:
    for spelled in (suffix, suffix.upper()):
      sidecar = path.with_name(path.name + spelled)
      if sidecar.is_file():
        with sidecar.open('rb') as file:
          if file.read(4) not in TIFF_STARTS:
            raise ValueError(f'{sidecar.name} beside it, which is no TIFF')
