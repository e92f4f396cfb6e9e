"""Embeddings in parquet in the form of Major TOM, read and written."""

import json

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.majortom import (
  is_embeddings,
  read_embeddings,
  write_embeddings,
)
from harma_jax.search_index.query import search

pa = pytest.importorskip('pyarrow')
pq = pytest.importorskip('pyarrow.parquet')

NAME = 'SigLIP-SO400M'
MAJOR_TOM = (
  *('unique_id', 'embedding', 'timestamp', 'product_id', 'grid_cell', 'grid_row_u'),
  *('grid_col_r', 'geometry', 'centre_lat', 'centre_lon', 'utm_footprint', 'utm_crs'),
  'pixel_bbox',
)


@pytest.fixture
def published(tmp_path, unit_rows):
  """`published(n)`: the path of a file as Major TOM's, and its features f32[n, 8]."""
  shapely = pytest.importorskip('shapely')

  def make(n=6, *, name='part.parquet', drop=(), seed=0, **changes):
    features = unit_rows(n, seed=seed)
    shapes = [shapely.box(8 + i, 46, 8.5 + i, 46.5) for i in range(n)]
    columns = {
      'unique_id': [f'{seed}{i:03}' for i in range(n)],
      'embedding': pa.array(list(features * 17), pa.list_(pa.float32())),
      'timestamp': ['20200101T101010'] * n,
      'product_id': [f'S2A_{i // 2}' for i in range(n)],
      'grid_cell': [f'{i}U_7R' for i in range(n)],
      'grid_row_u': pa.array(range(n), pa.int16()),
      'grid_col_r': pa.array([7] * n, pa.int16()),
      'geometry': [shapely.to_wkb(shape) for shape in shapes],
      'centre_lat': pa.array([46.25] * n, pa.float32()),
      'centre_lon': pa.array([8.25 + i for i in range(n)], pa.float32()),
      'utm_footprint': ['POLYGON EMPTY'] * n,
      'utm_crs': ['EPSG:32632'] * n,
      'pixel_bbox': [[96 * i, 0, 96 * i + 384, 384] for i in range(n)],
    } | changes
    kept = {name: values for name, values in columns.items() if name not in drop}
    path = tmp_path / 'archive' / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(kept), path)
    return str(path), features

  return make


def test_a_file_is_an_index(published):
  path, features = published()
  index = read_embeddings(path, made_by=NAME)
  assert len(index) == 6
  [best, *_] = search(index, features[3], top=2)
  assert best.image == 'S2A_1 3U_7R'
  assert best.similarity == pytest.approx(1, abs=1e-6)
  assert best.box == (288, 0, 384, 384)
  assert best.corners == ((11, 46.5), (11, 46), (11.5, 46), (11.5, 46.5))


def test_a_folder_of_files_is_one_index(published, tmp_path):
  _, first = published(3, name='a.parquet')
  _, second = published(2, name='b.parquet', seed=1)
  assert is_embeddings(str(tmp_path / 'archive'))
  index = read_embeddings(str(tmp_path / 'archive'), made_by=NAME)
  expected = np.concatenate([first, second])
  np.testing.assert_allclose(index.features, expected, atol=1e-6)


@pytest.mark.parametrize(
  'kind',
  [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 8)],
)
def test_embeddings_may_be_any_lists_of_floats(published, unit_rows, kind):
  path, _ = published(embedding=pa.array(list(unit_rows(6)), kind))
  features = read_embeddings(path, made_by=NAME).features
  assert features.dtype == np.float32
  np.testing.assert_allclose(features, unit_rows(6), atol=1e-6)


def test_only_embeddings_must_be_there(published):
  path, _ = published(drop=('product_id', 'geometry', 'pixel_bbox'))
  index = read_embeddings(path, made_by=NAME)
  assert index.names[0] == '0000'
  assert np.isnan(index.corners).all()
  assert not index.boxes.any()
  path, _ = published(drop=set(MAJOR_TOM) - {'embedding'})
  assert read_embeddings(path, made_by=NAME).names[:2] == ['row 0', 'row 1']


def test_rows_without_a_finite_embedding_are_left_out(published, unit_rows):
  rows = [*unit_rows(6)]
  rows[1], rows[2], rows[4] = None, rows[2] * np.nan, rows[4] * 0
  path, _ = published(embedding=pa.array(rows, pa.list_(pa.float32())))
  index = read_embeddings(path, made_by=NAME)
  np.testing.assert_allclose(index.features, unit_rows(6)[[0, 3, 5]], atol=1e-6)
  assert [index.names[i] for i in index.file] == [
    'S2A_0 0U_7R',
    'S2A_1 3U_7R',
    'S2A_2 5U_7R',
  ]


def test_who_made_the_embeddings_must_be_said(published):
  path, _ = published()
  with pytest.raises(UserError, match='--made_by: expected the name of the model'):
    read_embeddings(path)


def test_what_is_no_embeddings_is_one_message(published, tmp_path):
  path, _ = published(drop=('embedding',))
  with pytest.raises(UserError, match=r'a column `embedding`.*found unique_id, time'):
    read_embeddings(path, made_by=NAME)
  path, _ = published(embedding=['a'] * 6)
  with pytest.raises(
    UserError, match='expected lists of floats in `embedding`; found s'
  ):
    read_embeddings(path, made_by=NAME)
  path, _ = published(embedding=[[1.0], [1.0, 2.0], *[[1.0]] * 4])
  with pytest.raises(UserError, match=r'embeddings of one width; found 1, 2\.'):
    read_embeddings(path, made_by=NAME)
  path, _ = published(embedding=pa.array([None] * 6, pa.list_(pa.float32())))
  with pytest.raises(UserError, match='embeddings of one width; found none'):
    read_embeddings(path, made_by=NAME)
  (tmp_path / 'text.parquet').write_text('no parquet')
  with pytest.raises(UserError, match='expected embeddings in parquet; found: '):
    read_embeddings(str(tmp_path / 'text.parquet'), made_by=NAME)


def test_a_folder_of_two_widths_is_one_message(published, tmp_path):
  published(3, name='a.parquet')
  published(3, name='b.parquet', embedding=[[1.0, 2.0]] * 3)
  with pytest.raises(UserError, match=r'embeddings of one width; found 2, 8\.'):
    read_embeddings(str(tmp_path / 'archive'), made_by=NAME)


@pytest.fixture
def index(made_index, unit_rows):
  """Seven rows: plain, across 180, around a pole, without a place."""
  pytest.importorskip('rasterio')
  unit = np.array([[0, 1], [0, 0], [1, 0], [1, 1]], float)
  corners = np.stack([unit + np.array([8 + 7 * i, 46 - 30 * i]) for i in range(7)])
  corners[4] = unit - np.array([180.5, 0])
  corners[5] = [[135, 86], [225, 86], [315, 86], [405, 86]]
  corners[6] = np.nan
  return made_index(unit_rows(7), corners=corners)


def test_an_index_is_written_in_the_same_form_and_read_again(index, tmp_path):
  path = str(tmp_path / 'ours.parquet')
  assert write_embeddings(index, path) == 7
  assert pq.read_schema(path).names == [*MAJOR_TOM, 'bbox']
  again = read_embeddings(path)
  assert again.manifest['model_sha256'] == index.manifest['model_sha256']
  assert [again.names[i] for i in again.file] == [index.names[i] for i in index.file]
  np.testing.assert_allclose(again.features, index.features, atol=1e-6)
  np.testing.assert_array_equal(again.boxes, index.boxes)
  plain = [0, 1, 2, 3, 4, 6]
  np.testing.assert_allclose(again.corners[plain], index.corners[plain], atol=1e-9)
  # Of what goes around a pole the box around it.
  np.testing.assert_allclose(again.corners[5][:, 0], [-180, -180, 180, 180])


def test_a_file_that_cannot_be_written_is_one_message(index, tmp_path):
  with pytest.raises(UserError, match=r'--out=.*: expected a file that can be written'):
    write_embeddings(index, str(tmp_path / 'none/ours.parquet'))


def test_no_path_of_the_writer_is_in_the_file(index, tmp_path):
  path = tmp_path / 'ours.parquet'
  write_embeddings(index, str(path))
  assert index.manifest['model_path'] not in json.loads(
    pq.read_schema(path).metadata[b'harma_jax']
  )
  assert str(tmp_path).encode() not in path.read_bytes()


def test_the_columns_are_what_they_say(index, tmp_path):
  path = tmp_path / 'ours.parquet'
  write_embeddings(index, str(path))
  first, *_, last = pq.read_table(path).to_pylist()
  assert len(first['unique_id']) == 64
  assert first['utm_crs'] == 'EPSG:32632'
  assert first['utm_footprint'].startswith('POLYGON ((')
  assert (first['centre_lon'], first['centre_lat']) == pytest.approx(
    (8.5, 46.5), abs=0.01
  )
  assert first['grid_cell'].endswith('R')
  assert first['grid_cell'].startswith(f'{first["grid_row_u"]}U')
  assert first['pixel_bbox'] == [0, 0, 4, 4]
  for column in ('geometry', 'grid_cell', 'utm_crs', 'centre_lat', 'bbox', 'timestamp'):
    assert last[column] is None


def test_geopandas_reads_what_was_written(index, tmp_path):
  geopandas = pytest.importorskip('geopandas')
  path = tmp_path / 'ours.parquet'
  write_embeddings(index, str(path))
  table = geopandas.read_parquet(path)
  assert table.crs == 'OGC:CRS84'
  assert table.geometry[:-1].is_valid.all()
  assert table.geometry[6] is None


def test_a_files_own_model_needs_no_name(index, tmp_path):
  path = str(tmp_path / 'ours.parquet')
  write_embeddings(index, path)
  with pytest.raises(UserError, match='--made_by: expected none'):
    read_embeddings(path, made_by=NAME)


def test_an_index_is_no_folder_of_embeddings(index, tmp_path):
  write_embeddings(index, str(index.folder / 'ours.parquet'))
  assert not is_embeddings(str(index.folder))
  assert not is_embeddings(str(tmp_path / 'nothing'))
