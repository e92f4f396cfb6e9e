"""The command line: an index of a folder, and queries of it."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search import main
from harma_jax.search_index.index import open_index


@pytest.fixture
def call(monkeypatch, capsys):
  """`call('query', 'fields', index=...)`: what is printed, at 100 columns."""
  monkeypatch.setenv('COLUMNS', '100')

  def run(*words, **values):
    with flagsaver.flagsaver(**values):
      main(['search', *words])
    return capsys.readouterr().out

  return run


@pytest.fixture(scope='module')
def index(finished_run, small_data, tmp_path_factory):
  out = tmp_path_factory.mktemp('indexes') / 'small'
  values = {'workdir': str(finished_run), 'images': str(small_data / 'images')}
  with flagsaver.flagsaver(**values, out=str(out)):
    main(['search', 'index'])
  return str(out)


def test_a_text_is_answered_with_the_model_of_the_index(call, index):
  printed = call('query', 'boats', 'on a river', index=index, top=5)
  assert printed.count('.png') == 5
  assert '0, 0, 32, 32' in printed


def test_an_image_finds_itself_and_a_page_shows_it(
  call, index, small_data, tmp_path, caplog
):
  page = tmp_path / 'page.html'
  image = str(small_data / 'images/val_3.png')
  with caplog.at_level('INFO', logger='absl'):
    printed = call('query', index=index, image=image, top=3, html=str(page))
  first = next(line for line in printed.splitlines() if '.png' in line)
  assert 'val_3.png' in first
  assert '1.000' in first
  assert f'{page}: {page.stat().st_size:,} bytes' in caplog.text
  assert page.read_text().count('data:image/jpeg;base64,') == 4


def test_tiles_may_be_indexed_and_are_printed(call, finished_run, small_data, tmp_path):
  out = str(tmp_path / 'tiles')
  images = str(small_data / 'images')
  values = {
    'workdir': str(finished_run),
    'images': images,
    'out': out,
    'tile': ['20', '0'],
  }
  assert '0 images skipped' in call('index', **values)
  manifest = json.loads((tmp_path / 'tiles/manifest.json').read_text())
  assert (manifest['tile'], manifest['stride']) == ([20, 0], [10, 0])
  assert '20, 20' in call('query', 'fields', index=out, top=2)


def test_the_same_command_again_has_nothing_to_do(
  call, index, finished_run, small_data
):
  values = {'workdir': str(finished_run), 'images': str(small_data / 'images')}
  assert 'done' in call('index', **values, out=index)


def test_an_archive_that_grew_is_indexed_on_and_the_table_says_so(
  call, finished_run, small_data, tmp_path
):
  pictures = tmp_path / 'pictures'
  shutil.copytree(small_data / 'images', pictures)
  (pictures / 'late.png').write_bytes(b'half of a')
  values = {'workdir': str(finished_run), 'images': str(pictures)}
  values['out'] = str(tmp_path / 'index')
  assert '24 added, 0 changed, 0 dropped, 1 failed' in call('index', **values)
  shutil.copyfile(pictures / 'val_3.png', pictures / 'late.png')
  (pictures / 'val_3.png').unlink()
  shutil.copyfile(pictures / 'val_1.png', pictures / 'val_2.png')
  printed = call('index', **values)
  assert '1 added, 1 changed, 1 dropped, 0 failed, 22 as they were' in printed
  assert '0 images skipped' in printed
  with pytest.raises(UserError, match='--tile was 0, now 20'):
    call('index', **values, tile=['20'])


def test_a_folder_is_watched_until_it_is_stopped(
  call, finished_run, small_data, tmp_path, monkeypatch
):
  pictures, waits = tmp_path / 'pictures', []
  pictures.mkdir()
  names = iter(['val_2.png', None, 'val_3.png'])

  def wait(seconds):
    waits.append(seconds)
    name = next(names, 'end')
    if name == 'end':
      raise KeyboardInterrupt
    if name:
      shutil.copyfile(small_data / 'images' / name, pictures / name)

  shutil.copyfile(small_data / 'images/val_1.png', pictures / 'val_1.png')
  monkeypatch.setattr('harma_jax.cli.index_flags.time.sleep', wait)
  values = {'workdir': str(finished_run), 'images': str(pictures), 'watch': 5}
  with pytest.raises(KeyboardInterrupt):
    call('index', **values, out=str(tmp_path / 'index'))
  assert waits == [5] * 4
  assert len(open_index(tmp_path / 'index')) == 3


def test_a_file_of_queries_is_answered_in_lines_or_as_a_table(call, index, tmp_path):
  (tmp_path / 'queries.txt').write_text('fields\n\nboats on a river\n')
  values = {'index': index, 'queries': str(tmp_path / 'queries.txt'), 'top': 2}
  rows = [json.loads(line) for line in call('query', **values).splitlines()]
  assert [(row['query'], row['rank']) for row in rows] == [
    *(('fields', 1), ('fields', 2)),
    *(('boats on a river', 1), ('boats on a river', 2)),
  ]
  assert {row['rows'] for row in rows} == {24}
  assert call('query', **values, out=str(tmp_path / 'answers.csv')) == ''
  with (tmp_path / 'answers.csv').open(newline='') as file:
    table = list(csv.DictReader(file))
  assert [row['image'] for row in table] == [row['image'] for row in rows]


def test_a_box_of_a_scene_is_searched_for(call, index, small_data):
  image = str(small_data / 'images/val_3.png')
  whole = call('query', index=index, image=image, box=['0', '0', '32', '32'], top=1)
  assert whole == call('query', index=index, image=image, top=1)
  part = call('query', index=index, image=image, box=['8', '0', '16', '16'], top=1)
  assert part != whole


def test_another_models_query_is_refused(call, index, small_config, tmp_path):
  from harma_jax.training.loop import train

  train(small_config({'seed': 1, 'train.epochs': 1.0}), workdir=tmp_path / 'other')
  with pytest.raises(UserError, match='expected the model that made'):
    call('query', 'fields', index=index, workdir=str(tmp_path / 'other'))


def test_bands_and_stretch_are_kept_for_queries(
  call, finished_run, tmp_path, monkeypatch
):
  (tmp_path / 'images').mkdir()
  grey = np.random.default_rng(0).integers(200, 3000, (32, 32)).astype(np.uint16)
  Image.fromarray(grey).save(tmp_path / 'images/a.png')
  Image.fromarray(grey[::-1] // 2).save(tmp_path / 'images/b.png')
  images, out = str(tmp_path / 'images'), str(tmp_path / 'index')
  values = {'workdir': str(finished_run), 'images': images, 'out': out}
  call('index', **values, stretch='0,3000', bands='4,3,2')
  manifest = json.loads((tmp_path / 'index/manifest.json').read_text())
  preprocessing = manifest['preprocessing']
  assert preprocessing['stretch'] == '0,3000'
  assert preprocessing['bands'] == '4,3,2'
  assert preprocessing['min_valid'] == 0.01
  # The image is stretched as those of the index are.
  printed = call('query', index=out, image=f'{images}/b.png', top=1)
  assert 'b.png' in printed
  assert '1.000' in printed


@pytest.mark.parametrize(
  ('words', 'values', 'message'),
  [
    ((), {}, 'one of the commands index, query, export, serve; found none'),
    (('browse',), {}, 'found browse'),
    (('query', 'fields'), {}, 'Expected --index=INDEX'),
    (('index',), {}, 'Expected --out=INDEX'),
    (('index', 'pictures'), {}, 'found pictures'),
    (('export',), {}, 'Expected --out=FILE.parquet'),
    (('export', 'all'), {'out': 'a.parquet'}, 'found all'),
    (('export',), {'out': 'a.parquet'}, 'Expected --index=INDEX'),
    (('index',), {'out': 'new', 'share': '1-2'}, "found '1-2'"),
    (('index',), {'out': 'new', 'tile': ['x']}, "--tile: expected .* found 'x'"),
    (('query',), {'index': 'INDEX', 'at': '8.5'}, "--at: expected LON,LAT .* '8.5'"),
    (('query',), {'index': 'INDEX', 'box': ['1', '2']}, "--box: .* found '1,2'"),
    (
      ('query',),
      {'index': 'INDEX', 'box': ['1', '2', '3', '4']},
      '--image=FILE; found none',
    ),
    (('query',), {'index': 'INDEX', 'queries': 'none.txt'}, '--queries: .* none.txt'),
    (('index',), {'out': 'new'}, 'Expected --workdir=FOLDER'),
  ],
)
def test_mistakes_are_one_message(call, index, words, values, message):
  values = {k: index if v == 'INDEX' else v for k, v in values.items()}
  with pytest.raises(UserError, match=message):
    call(*words, **values)


def test_a_query_needs_words_or_an_image_and_a_place_for_a_map(call, index, tmp_path):
  with pytest.raises(UserError, match='a text, an image or a place'):
    call('query', index=index)
  with pytest.raises(UserError, match='--geojson: expected hits with a georeference'):
    call('query', 'fields', index=index, geojson=str(tmp_path / 'map.geojson'))
  with pytest.raises(
    UserError, match=r'--html=.*: expected a file that can be written'
  ):
    call('query', 'fields', index=index, html=str(tmp_path))


@pytest.fixture(scope='module')
def scenes(finished_run, tmp_path_factory):
  """An index of three scenes: at 8 degrees east, across 180, and without a place."""
  rasterio = pytest.importorskip('rasterio')
  folder = tmp_path_factory.mktemp('scenes')
  pixels = np.random.default_rng(0).integers(1, 256, (3, 40, 40)).astype(np.uint8)
  shape = {'width': 40, 'height': 40, 'count': 3, 'dtype': 'uint8', 'driver': 'GTiff'}
  for name, west in {'alps': 8, 'fiji': 179.9, 'nowhere': None}.items():
    place = {} if west is None else {'crs': 'EPSG:4326'}
    if place:
      place['transform'] = rasterio.Affine(0.01, 0, west, 0, -0.01, 46)
    with rasterio.open(folder / f'{name}.tif', 'w', **shape, **place) as scene:
      scene.write(pixels)
  values = {'workdir': str(finished_run), 'images': str(folder)}
  with flagsaver.flagsaver(**values, out=str(folder / 'index')):
    main(['search', 'index'])
  return str(folder / 'index')


def test_places_are_written(call, scenes, tmp_path):
  files = {name: str(tmp_path / name) for name in ('geojson', 'csv')}
  printed = call('query', 'fields', index=scenes, **files)
  assert all(name in printed for name in ('alps', 'fiji', 'nowhere'))
  features = json.loads((tmp_path / 'geojson').read_text())['features']
  kinds = {one['properties']['image']: one['geometry']['type'] for one in features}
  assert kinds == {'alps.tif': 'Polygon', 'fiji.tif': 'MultiPolygon'}
  assert len((tmp_path / 'csv').read_text().splitlines()) == 4


def test_a_query_asks_for_places(call, scenes, tmp_path):
  pytest.importorskip('shapely')
  printed = call('query', 'fields', index=scenes, bbox='179,40,-179,50')
  assert 'fiji' in printed
  assert 'alps' not in printed
  ring = [[7, 45], [9, 45], [9, 47], [7, 45]]
  area = tmp_path / 'area.geojson'
  area.write_text(json.dumps({'type': 'Polygon', 'coordinates': [ring]}))
  printed = call('query', 'fields', index=scenes, within=str(area))
  assert 'alps' in printed
  assert 'fiji' not in printed
  with pytest.raises(UserError, match='--bbox: expected an area that the index has'):
    call('query', 'fields', index=scenes, bbox='20,40,30,50')


def test_an_index_becomes_parquet_that_can_be_asked(
  call, scenes, finished_run, tmp_path
):
  pytest.importorskip('pyarrow')
  out, found = str(tmp_path / 'a.parquet'), str(tmp_path / 'hits.parquet')
  assert call('export', index=scenes, out=out) == f'{out}: 3 rows\n'
  with pytest.raises(UserError, match='Expected --workdir'):
    call('query', 'fields', index=out)
  values = {'index': out, 'workdir': str(finished_run)}
  printed = call('query', 'fields', **values, geoparquet=found)
  assert 'fiji' in printed
  assert pathlib.Path(found).stat().st_size


def test_a_map_is_of_one_query(call, index, tmp_path):
  (tmp_path / 'queries.txt').write_text('fields\n')
  queries, out = str(tmp_path / 'queries.txt'), str(tmp_path / 'a.csv')
  with pytest.raises(UserError, match='--csv: expected one query; found --queries'):
    call('query', index=index, queries=queries, csv=out)


def test_an_index_knows_who_made_it(call, index):
  with pytest.raises(UserError, match='--made_by: expected embeddings in parquet'):
    call('query', 'fields', index=index, made_by='CLIP')


def test_embeddings_of_another_width_are_one_message(call, finished_run, tmp_path):
  pa = pytest.importorskip('pyarrow')
  parquet = pytest.importorskip('pyarrow.parquet')
  path = str(tmp_path / 'others.parquet')
  parquet.write_table(pa.table({'embedding': [[1.0] * 7]}), path)
  values = {'index': path, 'workdir': str(finished_run), 'made_by': 'Theirs'}
  message = r'--workdir: expected Theirs, as --made_by says, .*7 numbers.*found a model'
  with pytest.raises(UserError, match=message):
    call('query', 'fields', **values)


def test_the_flag_images_may_stand_beside_that_of_data():
  import harma_jax.data.__main__  # noqa: F401, defines a flag of the same name

  assert flags.FLAGS['images'].default == 'images'


def test_the_page_is_served_with_the_model_of_the_index(call, index, monkeypatch):
  asked = {}
  monkeypatch.setattr(
    'harma_jax.search_page.server.serve',
    lambda archive, *, host, port, ready: (
      asked.update(archive=archive, host=host, port=port),
      ready(f'http://{host}:{port}/'),
    ),
  )
  printed = call('serve', index=index, port=8001)
  assert 'http://127.0.0.1:8001/: open it in a browser' in printed
  assert asked['host'] == '127.0.0.1'
  settings = {'text': 'boats', 'image': None, 'minus': '', 'overlap': 'best'}
  hits = asked['archive'].search(top=3, allowed=None, **settings)
  assert len(hits) == 3
