"""The flags of searches that name an index, ask for places and write them."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from harma_jax.cli.shared_flags import WORKDIR, given, workdir, write_bytes
from harma_jax.errors import UserError

if TYPE_CHECKING:
  import numpy as np

  from harma_jax.search_index.index import Index
  from harma_jax.search_index.query import Hit

_INDEX = flags.DEFINE_string('index', None, 'The folder of an index.')
_MADE_BY = flags.DEFINE_string(
  'made_by', None, "The model that made others' embeddings: that of --workdir."
)
_BBOX = flags.DEFINE_string(
  'bbox', None, 'W,S,E,N in degrees: only what touches it; W above E crosses 180.'
)
_WITHIN = flags.DEFINE_string(
  'within', None, 'A file of GeoJSON: only what touches its polygons.'
)
_GEOJSON = flags.DEFINE_string('geojson', None, 'A file for maps to write, in WGS84.')
_GEOPARQUET = flags.DEFINE_string('geoparquet', None, 'The same as GeoParquet 1.1.')
_CSV = flags.DEFINE_string('csv', None, 'A table to write, outlines as WKT.')

_FILES = (_GEOJSON, _GEOPARQUET, _CSV)


def given_index() -> 'Index':
  """What --index names: an index, or embeddings in parquet.

  Raises:
    UserError: it names none, --made_by is for none of this kind, or as `open_index` and
      `read_embeddings`.
  """
  from harma_jax.search_index.index import open_index
  from harma_jax.search_index.majortom import is_embeddings, read_embeddings

  path, made_by = given(_INDEX, 'INDEX'), _MADE_BY.value or ''
  if is_embeddings(path):
    return read_embeddings(path, made_by=made_by)
  if made_by:
    raise UserError(
      f'--made_by: expected embeddings in parquet; found {path}, which is none. Leave '
      'it out: an index knows the model that made it.'
    )
  return open_index(path)


def model_path(index: 'Index') -> str | pathlib.Path:
  """Of the model of --workdir, or of the one that made the index."""
  return WORKDIR.value or index.manifest['model_path'] or workdir()


def allowed_rows(index: 'Index') -> 'np.ndarray | None':
  """Which rows --bbox and --within allow, bool[n]; None for all.

  Raises:
    UserError: as `rows_within`.
  """
  from harma_jax.search_index.filters import rows_within

  return rows_within(index.corners, bbox=_BBOX.value or '', within=_WITHIN.value or '')


def expect_no_files() -> None:
  """That no file is asked for where there is more than one query.

  Raises:
    UserError: one is.
  """
  for flag in _FILES:
    if flag.value:
      raise UserError(
        f'--{flag.name}: expected one query; found --queries, whose answers go to '
        '--out. Leave one of them out.'
      )


def write_places(hits: Sequence['Hit']) -> None:
  """Writes what was found to the files that the flags name, and says so.

  Raises:
    UserError: a file cannot be written, or as the function that makes it.
  """
  from harma_jax.search_index.csv_table import csv_of
  from harma_jax.search_index.geojson import geojson_of
  from harma_jax.search_index.geoparquet import geoparquet_of

  for flag, make in zip(_FILES, (geojson_of, geoparquet_of, csv_of), strict=True):
    if flag.value:
      content = make(hits)
      content = content.encode() if isinstance(content, str) else content
      logging.info('%s: %s bytes', write_bytes(flag, content), f'{len(content):,}')
