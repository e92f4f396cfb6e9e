"""The command line: an index of a folder, and queries of it."""

import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search import main


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


def test_an_image_finds_itself_and_a_page_shows_it(call, index, small_data, tmp_path):
  page = tmp_path / 'page.html'
  image = str(small_data / 'images/val_3.png')
  printed = call('query', index=index, image=image, top=3, html=str(page))
  first = next(line for line in printed.splitlines() if '.png' in line)
  assert 'val_3.png' in first
  assert '1.000' in first
  assert f'{page}: {page.stat().st_size:,} bytes' in printed
  assert page.read_text().count('data:image/jpeg;base64,') == 4


def test_tiles_may_be_indexed_and_are_printed(call, finished_run, small_data, tmp_path):
  out = str(tmp_path / 'tiles')
  images = str(small_data / 'images')
  values = {'workdir': str(finished_run), 'images': images, 'out': out, 'tile': 20}
  assert '0 images skipped' in call('index', **values)
  manifest = json.loads((tmp_path / 'tiles/manifest.json').read_text())
  assert (manifest['tile'], manifest['stride']) == (20, 10)
  assert '20, 20' in call('query', 'fields', index=out, top=2)


def test_the_same_command_again_has_nothing_to_do(
  call, index, finished_run, small_data
):
  values = {'workdir': str(finished_run), 'images': str(small_data / 'images')}
  assert 'done' in call('index', **values, out=index)


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
    ((), {}, 'one of the commands index, query; found none'),
    (('serve',), {}, 'found serve'),
    (('query', 'fields'), {}, 'Expected --index=INDEX'),
    (('index',), {}, 'Expected --out=INDEX'),
    (('index', 'pictures'), {}, 'found pictures'),
    (('index',), {'out': 'new', 'share': '1-2'}, "found '1-2'"),
    (('index',), {'out': 'new'}, 'Expected --workdir=FOLDER'),
  ],
)
def test_mistakes_are_one_message(call, words, values, message):
  with pytest.raises(UserError, match=message):
    call(*words, **values)


def test_a_query_needs_words_or_an_image_and_a_place_for_a_map(call, index, tmp_path):
  with pytest.raises(UserError, match='found both or none'):
    call('query', index=index)
  with pytest.raises(UserError, match='--geojson: expected hits with a georeference'):
    call('query', 'fields', index=index, geojson=str(tmp_path / 'map.geojson'))
  with pytest.raises(
    UserError, match=r'--html=.*: expected a file that can be written'
  ):
    call('query', 'fields', index=index, html=str(tmp_path))


def test_the_flag_images_may_stand_beside_that_of_data():
  import harma_jax.data.__main__  # noqa: F401, defines a flag of the same name

  assert flags.FLAGS['images'].default == 'images'
