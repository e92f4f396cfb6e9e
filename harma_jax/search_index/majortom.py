"""Embeddings in parquet as Major TOM publishes them, read and written as an index.

A row is a box of an image, with the columns `embedding`, `unique_id`, `timestamp`,
`product_id`, `grid_cell`, `grid_row_u`, `grid_col_r`, `geometry` (WKB, in WGS84),
`centre_lat`, `centre_lon`, `utm_footprint`, `utm_crs` and `pixel_bbox` (left, top,
right, bottom); see arXiv 2412.05600. Only `embedding` must be there.

Reads and writes through pyarrow, of the extra `parquet`.
"""

import contextlib
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.search_index import extras
from harma_jax.search_index.geoparquet import geo_metadata, shape_columns
from harma_jax.search_index.grid_cells import cells_of
from harma_jax.search_index.index import Index, Part
from harma_jax.search_index.manifest import MANIFEST_FILE
from harma_jax.search_index.places import to_utm
from harma_jax.search_index.records import centre_of, readable
from harma_jax.search_index.shards import Features
from harma_jax.search_index.storage import replacing
from harma_jax.search_index.wkb import Shapes, corners_of, shapes_of

SUFFIX = '.parquet'
ROWS_AT_ONCE = 2**14
ABOUT = 'harma_jax'  # what a file of ours says of the model that made it
COLUMNS = (
  'embedding',
  'product_id',
  'grid_cell',
  'unique_id',
  'geometry',
  'pixel_bbox',
)
_TIME = re.compile(r'(?<!\d)(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?!\d)')


class _Rows(NamedTuple):
  """Some rows of a file: see `Index`."""

  features: np.ndarray
  names: np.ndarray
  boxes: np.ndarray
  corners: np.ndarray


def is_embeddings(path: str) -> bool:
  """Whether a path is a file of parquet, or a folder of such and no index."""
  return bool(_files(path))


def read_embeddings(path: str, *, made_by: str = '') -> Index:
  """An index of the rows of a file, or of all files in a folder, all in memory.

  Features are made unit rows; what has no finite one is left out, with a warning.

  Args:
    path: of the file or folder.
    made_by: the name of the model that made the embeddings, as the user says; '' for
      files that `write_embeddings` wrote, which know theirs.

  Raises:
    UserError: it cannot be read, holds no embeddings of one width, or the model is not
      said; or pyarrow is not installed.
  """
  _, pq = extras.pyarrow('--index')
  files, parts = _files(path), []
  with _readable(path):
    about = [_about(pq.read_schema(file).metadata) for file in files]
    about = _only(about, path=path, made_by=made_by)
    for file in files:
      parts += _read_rows(pq.ParquetFile(file), file=file, is_ours=bool(about))
  parts = [part for part in parts if len(part.features)]
  widths = {part.features.shape[1] for part in parts}
  if len(widths) != 1:
    found = ', '.join(map(str, sorted(widths))) or 'none'
    raise UserError(
      f'--index={path}: expected embeddings of one width; found {found}. Give a file, '
      'or a folder with files of one model.'
    )
  return _index_of(path, parts, about=about, made_by=made_by)


def write_embeddings(index: Index, path: str) -> int:
  """Writes the rows of an index in Major TOM's form; returns their number.

  What is not known is null: a place, the time where an image's name has none. The hash
  of the model goes into the file's metadata, and no path.

  Raises:
    UserError: it cannot be written, or pyarrow or rasterio is not installed.
  """
  pa, pq = extras.pyarrow('--out')
  shapes = shapes_of(index.corners)
  metadata = geo_metadata(shapes)
  if index.manifest['model_sha256']:
    about = {name: index.manifest[name] for name in ('model_sha256', 'preprocessing')}
    metadata[ABOUT] = json.dumps(about)
  with _written(path) as new:
    writer = None
    for start in range(0, len(index), ROWS_AT_ONCE):
      rows = np.arange(start, min(start + ROWS_AT_ONCE, len(index)))
      table = pa.table(_columns(pa, index, shapes, rows))
      table = table.replace_schema_metadata(metadata)
      writer = writer or pq.ParquetWriter(new, table.schema, compression='zstd')
      writer.write_table(table)
    writer.close()
  return len(index)


def _files(path: str) -> list[pathlib.Path]:
  place = pathlib.Path(path).expanduser()
  if place.is_dir() and not (place / MANIFEST_FILE).exists():
    return sorted(place.rglob(f'*{SUFFIX}'))
  return [place] if place.suffix == SUFFIX else []


def _about(metadata: Mapping[bytes, bytes] | None) -> dict:
  """What `write_embeddings` said of the model; {} in other programs' files."""
  return json.loads((metadata or {}).get(ABOUT.encode(), b'{}'))


def _only(about: Sequence[dict], *, path: str, made_by: str) -> dict:
  """What all files say of the model that made them; {} where only the user knows it.

  Raises:
    UserError: neither says it, both do, or files differ.
  """
  if any(one != about[0] for one in about):
    raise UserError(
      f'--index={path}: expected embeddings of one model; found files of several. Give '
      'a file, or a folder with files of one model.'
    )
  if not about[0] and not made_by:
    raise UserError(
      f'--made_by: expected the name of the model that made the embeddings of {path}, '
      'which do not say it; found none. Where --workdir has this very model, say so, '
      'as in --made_by=SigLIP-SO400M; another one finds nothing but noise.'
    )
  if about[0] and made_by:
    raise UserError(
      f'--made_by: expected none, as {path} knows the model that made it; found '
      f'{made_by!r}. Leave it out.'
    )
  return about[0]


def _read_rows(source, *, file: pathlib.Path, is_ours: bool) -> Iterator[_Rows]:
  """The rows of an open file of parquet, some at a time."""
  pa, _ = extras.pyarrow('--index')
  there = source.schema_arrow.names
  if 'embedding' not in there:
    raise UserError(
      f'--index={file}: expected a column `embedding`, as Major TOM has it; found '
      f'{", ".join(there)}. Rename the column of the embeddings.'
    )
  columns = [name for name in COLUMNS if name in there]
  start = 0
  for batch in source.iter_batches(ROWS_AT_ONCE, columns=columns):
    rows, start = np.arange(start, start + len(batch)), start + len(batch)
    features, kept = _features(batch['embedding'], file=file)
    if not kept.all():
      logging.warning('%s: %d rows have no finite embedding', file, (~kept).sum())
    found = {name: batch[name].filter(pa.array(kept)) for name in columns}
    names = _names(found, rows[kept], is_ours=is_ours)
    corners = np.full((len(features), 4, 2), np.nan)
    if 'geometry' in found and _is_binary(found['geometry'].type):
      corners = corners_of(found['geometry'].to_pylist())
    yield _Rows(
      features, names, _boxes(found.get('pixel_bbox'), len(features)), corners
    )


def _is_binary(kind) -> bool:
  import pyarrow as pa

  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _features(column, *, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Unit rows f32[k, D] of a column of lists, and which rows have one: bool[n]."""
  import pyarrow as pa
  import pyarrow.compute as pc

  kinds = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
  is_list = any(is_kind(column.type) for is_kind in kinds)
  if not is_list or not pa.types.is_floating(column.type.value_type):
    raise UserError(
      f'--index={file}: expected lists of floats in `embedding`; found {column.type}.'
    )
  lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
  widths = set(lengths.tolist()) - {0}
  if len(widths) > 1:
    raise UserError(
      f'--index={file}: expected embeddings of one width; found '
      f'{", ".join(map(str, sorted(widths)))}.'
    )
  width = widths.pop() if widths else 1
  flat = pc.list_flatten(column.filter(pa.array(lengths > 0)))
  values = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
  values = values.reshape(-1, width)
  norms = np.linalg.norm(values, axis=1, keepdims=True)
  is_good = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
  kept = lengths > 0
  kept[kept] = is_good
  return values[is_good] / norms[is_good], kept


def _names(found: Mapping, rows: np.ndarray, *, is_ours: bool) -> np.ndarray:
  """What rows are shown as: the product and its cell, else the id, else the number."""
  columns = [name for name in ('product_id', 'grid_cell') if name in found]
  if is_ours:
    columns = ['product_id']
  elif 'product_id' not in columns:
    columns = ['unique_id'] if 'unique_id' in found else []
  if not columns:
    return np.array([f'row {row}' for row in rows], object)
  values = zip(*(found[name].to_pylist() for name in columns), strict=True)
  return np.array([' '.join(str(one) for one in row if one) for row in values], object)


def _boxes(column, count: int) -> np.ndarray:
  """Left, top, width, height of a column of left, top, right, bottom."""
  import pyarrow.compute as pc

  boxes = np.zeros((count, 4), np.int32)
  if column is not None and count:
    edges = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    if len(edges) == 4 * count:
      edges = edges.reshape(count, 4)
      boxes = np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1)
  return boxes.astype(np.int32)


def _index_of(
  path: str, parts: Sequence[_Rows], *, about: Mapping, made_by: str
) -> Index:
  """The rows as an index that has no images."""
  rows = [
    np.concatenate(column) for column in zip(*(part[1:] for part in parts), strict=True)
  ]
  names, file = np.unique(rows[0], return_inverse=True)
  manifest = {
    'model_sha256': about.get('model_sha256', ''),
    'model_path': '',
    'made_by': made_by,
    'preprocessing': about.get('preprocessing', {}),
    'images': path,
    'images_from_index': '.',
    'tile': [1],
  }
  return Index(
    folder=pathlib.Path(path),
    manifest=manifest,
    names=names.tolist(),
    file=file.astype(np.int32),
    boxes=rows[1],
    corners=rows[2],
    parts=[Part(Features(part.features)) for part in parts],
  )


def _columns(pa, index: Index, shapes: Shapes, rows: np.ndarray) -> dict:
  """Some rows as the columns of Major TOM, in its order, and `bbox`."""
  names = [readable(index.names[file]) for file in index.file[rows]]
  features, boxes = index.features_at(rows), index.boxes[rows]
  corners, outlines = index.corners[rows], Shapes(*_cut(shapes, rows))
  times, middles = [_time_of(name) for name in names], centre_of(corners)
  cells, (metres, codes) = cells_of(middles), to_utm(corners)
  outside = np.array([name is None for name in cells.names])
  left, top, width, height = boxes.T
  edges = np.stack([left, top, left + width, top + height], axis=1).astype(np.int64)
  ids = map(_id, outlines.wkb, times, names, edges, features)
  unknown = np.isnan(middles[:, 0])
  shape = shape_columns(outlines)
  return {
    'unique_id': pa.array(list(ids)),
    'embedding': _lists(pa, features),
    'timestamp': pa.array(times, pa.string()),
    'product_id': pa.array(names),
    'grid_cell': pa.array(cells.names, pa.string()),
    'grid_row_u': pa.array(cells.rows, mask=outside),
    'grid_col_r': pa.array(cells.columns, mask=outside),
    'geometry': shape['geometry'],
    'centre_lat': pa.array(middles[:, 1].astype(np.float32), mask=unknown),
    'centre_lon': pa.array(middles[:, 0].astype(np.float32), mask=unknown),
    'utm_footprint': pa.array([_wkt(ring) for ring in metres], pa.string()),
    'utm_crs': pa.array([f'EPSG:{code}' if code else None for code in codes]),
    'pixel_bbox': _lists(pa, edges),
    'bbox': shape['bbox'],
  }


def _lists(pa, values: np.ndarray):
  """The rows of an array as a column of lists."""
  offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
  return pa.ListArray.from_arrays(offsets, values.ravel())


def _cut(shapes: Shapes, rows: np.ndarray) -> Iterator:
  part = slice(rows[0], rows[-1] + 1)
  return (values[part] for values in shapes)


def _id(wkb: bytes | None, time: str | None, name: str, box, feature) -> str:
  words = f'{time} {name} {box.tolist()}'.encode()
  return hashlib.sha256((wkb or b'') + words + feature.tobytes()).hexdigest()


def _time_of(name: str) -> str | None:
  """When an image was taken, where its name says it as products do."""
  match = _TIME.search(name)
  return '{}-{}-{}T{}:{}:{}'.format(*match.groups()) if match else None


def _wkt(ring: np.ndarray) -> str | None:
  if np.isnan(ring).any():
    return None
  points = ', '.join(f'{x:.3f} {y:.3f}' for x, y in [*ring.tolist(), ring[0].tolist()])
  return f'POLYGON (({points}))'


@contextlib.contextmanager
def _written(path: str) -> Iterator[pathlib.Path]:
  try:
    with replacing(pathlib.Path(path).expanduser()) as new:
      yield new
  except OSError as error:
    raise UserError(
      f'--out={path}: expected a file that can be written; {error.strerror or error}. '
      'Give another --out.'
    ) from error


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
  import pyarrow as pa

  try:
    yield
  except (OSError, pa.ArrowException) as error:
    raise UserError(
      f'--index={path}: expected embeddings in parquet; found: {error}. Copy the file '
      'again.'
    ) from error
