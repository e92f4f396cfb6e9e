"""The Python interface beside one image or text at a time, and its page of docs."""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import harma_jax
from harma_jax import api
from harma_jax.api import Model, load
from harma_jax.building.model import build_model
from harma_jax.building.params import read_workdir
from harma_jax.data.cleaning import clean_caption
from harma_jax.data.images import normalize, read_image, resize_for_evaluation
from harma_jax.data.tokenizer import tokenize
from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.results.export import export
from harma_jax.rundir.workdir import read_config
from harma_jax.search_index.index import open_index
from harma_jax.weights import tokenizer_files
from harma_jax.weights.export import write_remote
from harma_jax.weights.names import paths_of

DOCS = pathlib.Path(__file__).parent.parent / 'docs/api.md'
TEXTS = ('Boats, on a river!', 'fields', 'boats on a river')


@pytest.fixture(scope='module')
def model(finished_run):
  return load(finished_run)


@pytest.fixture(scope='module')
def images(small_data):
  return sorted((small_data / 'images').glob('*.png'))


@pytest.fixture(scope='module')
def index(model, small_data, tmp_path_factory):
  """The folder of an index of all 24 images."""
  out = tmp_path_factory.mktemp('indexes') / 'small'
  made = model.make_index(small_data / 'images', out, threads=2, batch_size=5)
  assert (made.added, made.skipped) == (24, {})
  return out


def encode_plainly(run, path):
  """Features of one image, straight from the tower: the reference."""
  clip, params = build_model(read_config(run)), read_workdir(run)
  pixels = resize_for_evaluation(read_image(path), side=clip.size.image_size)
  return np.asarray(clip.encode_image(params, normalize(pixels[None])))[0]


def test_images_have_the_features_of_the_tower(model, finished_run, images):
  features = model.encode_images(images[:9])
  assert features.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
  for row in (0, 8):
    expected = encode_plainly(finished_run, images[row])
    np.testing.assert_allclose(features[row], expected, atol=1e-5)


def test_paths_arrays_and_pillow_images_are_the_same(model, images):
  image = read_image(images[0])
  features = model.encode_images([images[0], str(images[0]), image, np.asarray(image)])
  np.testing.assert_allclose(features, features[:1].repeat(4, axis=0), atol=1e-6)


def test_texts_are_cleaned_and_have_the_features_of_the_tower(model, finished_run):
  features = model.encode_texts(TEXTS)
  np.testing.assert_allclose(features[0], features[2], atol=1e-6)
  tokens = tokenize(
    [clean_caption(TEXTS[1], cleaning='released')], context_length=model.context_length
  )
  expected = model.clip.encode_text(read_workdir(finished_run), tokens)
  np.testing.assert_allclose(features[1], np.asarray(expected)[0], atol=1e-5)


def test_texts_are_cleaned_as_in_training(finished_run, tmp_path):
  run = shutil.copytree(finished_run, tmp_path / 'run')
  config = json.loads((run / 'config.json').read_text())
  found = {}
  for cleaning in ('released', 'sound', ''):
    config['data']['cleaning'] = cleaning
    if not cleaning:
      del config['data']['cleaning']  # as before there was a choice
    (run / 'config.json').write_text(json.dumps(config))
    found[cleaning] = load(run)
  assert [model.cleaning for model in found.values()] == [
    'released',
    'sound',
    'released',
  ]
  assert load(run, cleaning='sound').cleaning == 'sound'
  texts = ['red,boats', 'redboats', 'red boats']
  glued, apart = (found[name].encode_texts(texts) for name in ('released', 'sound'))
  np.testing.assert_allclose(glued[0], glued[1], atol=1e-6)
  np.testing.assert_allclose(apart[0], apart[2], atol=1e-6)
  np.testing.assert_array_equal(found[''].encode_texts(texts), glued)
  assert np.abs(glued[0] - apart[0]).max() > 1e-3


def test_the_hash_of_older_models_is_as_it_was(model):
  size = model.clip.size
  towers = {
    name: {
      key: getattr(getattr(size, name), key) for key in ('width', 'layers', 'heads')
    }
    for name in ('image', 'text')
  }
  rest = ('image_size', 'patch_size', 'embedding', 'activation')
  rest += ('context_length', 'vocabulary')
  words = towers | {name: getattr(size, name) for name in rest}
  settings = json.dumps({'size': words})
  digest = hashlib.sha256(settings.encode())
  for path, leaf in sorted(paths_of(model.params).items()):
    if path not in ('temperature', 'logit_scale'):
      digest.update(f'{path} {list(leaf.shape)}\n'.encode())
      digest.update(np.asarray(leaf, '<f4', order='C'))
  assert model.sha256 == digest.hexdigest()
  length = model.context_length
  sound = Model(model.clip, model.params, context_length=length, cleaning='sound')
  assert sound.sha256 != model.sha256


def test_an_unknown_cleaning_is_refused(finished_run):
  with pytest.raises(UserError, match="released, sound; found 'thorough'"):
    load(finished_run, cleaning='thorough')


@pytest.mark.parametrize(
  ('cleaning', 'text', 'cut'),
  [
    ('released', 'boat ' * 30, False),
    ('released', 'boat ' * 31, True),
    ('sound', 'boat ' * 38, False),
    ('sound', 'boat ' * 39, True),
  ],
)
def test_texts_that_are_cut_are_warned_of(model, caplog, cleaning, text, cut):
  other = Model(model.clip, model.params, context_length=40, cleaning=cleaning)
  other._encoders = lambda size: (None, lambda params, tokens: tokens)
  other.encode_texts(['boats', text])
  assert ('1 of 2 texts are cut: this model reads' in caplog.text) == cut
  assert (f'the first: {text!r}' in caplog.text) == cut


def test_classes_are_the_mean_of_their_prompts_and_classify_by_cosine(model, images):
  classes, templates = ['fields', 'river'], ['{}', 'boats on {}']
  features = model.encode_classes(classes, templates=templates)
  for name, row in zip(classes, features, strict=True):
    mean = model.encode_texts([name, f'boats on {name}']).mean(axis=0)
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
  cosines = model.classify(images[:3], classes, templates=templates)
  np.testing.assert_allclose(
    cosines, model.encode_images(images[:3]) @ features.T, atol=1e-6
  )
  assert model.classify(images[:1], []).shape == (1, 0)
  with pytest.raises(TypeError, match='sequences of classes'):
    model.classify(images[:1], 'fields')


def test_none_of_either_are_no_rows(model):
  assert model.encode_images([]).shape == model.encode_texts([]).shape == (0, 16)


def test_what_is_neither_image_nor_text_is_refused(model, images):
  with pytest.raises(TypeError, match='sequence of images'):
    model.encode_images(images[0])
  with pytest.raises(TypeError, match='sequence of texts'):
    model.encode_texts('fields')
  with pytest.raises(UserError, match=r'found an array of float32\[4, 4, 3\]'):
    model.encode_images([np.zeros((4, 4, 3), np.float32)])
  with pytest.raises(UserError, match=r"Expected words .* found '\.\.\.'"):
    model.encode_texts(['fields', '...'])


def test_an_image_finds_itself_first(model, index, images):
  for path in images[:3]:
    hits = model.search(index, image=path, top=4)
    assert hits[0].image == path.name
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert hits[0].box == (0, 0, 32, 32)


def test_an_index_is_the_same_wherever_tiles_are_resized(
  model, small_data, tmp_path, monkeypatch
):
  found, as_cut, build = [], [], api.build_index

  def note(*arguments, **settings):
    as_cut.append(settings['as_cut'])
    return build(*arguments, **settings)

  monkeypatch.setattr(api, 'build_index', note)
  for platform in ('cpu', 'tpu'):
    monkeypatch.setattr(api.Model, '_platform', platform)
    out = tmp_path / platform
    tiles = {'tile': [16, 20, 28, 48], 'stride': [8, 10, 14, 48]}
    model.make_index(small_data / 'images', out, **tiles, threads=2, batch_size=16)
    found.append(open_index(out))
  assert as_cut == [[], [16, 20, 28]]
  for name in ('features', 'boxes', 'corners'):
    host, devices = (getattr(index, name) for index in found)
    np.testing.assert_array_equal(devices, host)


def test_a_text_finds_what_the_products_say(model, index, images):
  opened = open_index(index)
  [query] = model.encode_texts(['fields'])
  products = model.encode_images(images) @ query
  expected = [images[row].name for row in np.argsort(-products)[:5]]
  hits = model.search(opened, text='fields', top=5)
  assert [hit.image for hit in hits] == expected


def test_text_and_image_count_alike_and_what_is_unwanted_half(model, index, images):
  opened = open_index(index)
  text, unwanted = model.encode_texts(['fields', 'river'])
  [image] = model.encode_images(images[:1])
  for query, wanted in (
    ({'text': 'fields', 'image': images[0]}, text + image),
    ({'text': 'fields', 'minus': 'river'}, text - 0.5 * unwanted),
  ):
    cosines = opened.features @ wanted / np.linalg.norm(wanted)
    hits = model.search(opened, **query, top=4)
    assert [hit.row for hit in hits] == np.argsort(-cosines)[:4].tolist()
    assert hits[0].similarity == pytest.approx(cosines.max(), abs=1e-5)


def test_a_place_is_searched_for_by_the_mean_of_its_rows(model, index):
  opened = open_index(index)
  opened.corners[3] = [[8, 47], [8, 46], [9, 46], [9, 47]]
  assert model.search(opened, at=(8.5, 46.5), top=1)[0].row == 3
  opened.corners[5] = opened.corners[3]
  mean = opened.features[[3, 5]].mean(axis=0)
  expected = np.argsort(-opened.features @ mean)[:3].tolist()
  hits = model.search(opened, at=(8.5, 46.5), top=3, overlap='keep')
  assert {hit.row for hit in hits} == {*expected} > {3, 5}


def test_many_texts_are_answered_as_one_by_one(model, index):
  texts = [f'fields {number}' for number in range(70)]
  answers = model.search_texts(index, texts, top=3)
  assert len(answers) == 70
  for number in (0, 69):
    alone = model.search(index, text=texts[number], top=3)
    assert [hit.row for hit in answers[number]] == [hit.row for hit in alone]


def test_something_to_look_for_is_needed(model, index):
  with pytest.raises(UserError, match='a text, an image or a place'):
    model.search(index, minus='clouds')


def test_another_models_query_is_refused(model, index):
  params = jax.tree.map(lambda leaf: leaf * 1.01, model.params)
  other = Model(model.clip, params, context_length=model.context_length)
  with pytest.raises(UserError, match=f'that made {index}, SHA-256'):
    other.search(index, text='fields')


def test_weights_of_another_program_are_the_same_model(
  model, index, finished_run, images, tmp_path
):
  out = tmp_path / 'weights'
  export(finished_run, format='open_clip', out=out, overwrite=False)
  loaded = load(out)
  assert loaded.sha256 == model.sha256
  features = model.encode_images(images[:2])
  np.testing.assert_allclose(loaded.encode_images(images[:2]), features, atol=1e-5)
  assert loaded.search(index, text='fields', top=1) == model.search(
    index, text='fields', top=1
  )


def test_cleaning_comes_with_an_export(finished_run, tmp_path):
  run = shutil.copytree(finished_run, tmp_path / 'run')
  config = json.loads((run / 'config.json').read_text())
  config['data']['cleaning'] = 'sound'
  (run / 'config.json').write_text(json.dumps(config))
  for format in ('open_clip', 'huggingface'):
    export(run, format=format, out=tmp_path / format, overwrite=False)
    loaded = load(tmp_path / format)
    assert loaded.cleaning == 'sound'
    assert loaded.sha256 == load(run).sha256


def test_adapters_come_with_their_settings(
  small_config, random_params, images, tmp_path, monkeypatch
):
  for source in ('_read_open_clip', '_read_hub'):
    monkeypatch.setattr(tokenizer_files, source, lambda: None)
  config = small_config({'model.adapters': 'harma', 'model.adapter_heads': 2})
  clip = build_model(config)
  assert clip.adapter == AdapterSettings(bottleneck=8, shared_bottleneck=8, heads=2)
  params = random_params(clip)
  write_remote(tmp_path / 'remote', params, model=clip, cleaning='released')
  made, loaded = Model(clip, params, context_length=8), load(tmp_path / 'remote')
  assert loaded.sha256 == made.sha256
  np.testing.assert_allclose(
    loaded.encode_images(images[:2]), made.encode_images(images[:2]), atol=1e-5
  )
  np.testing.assert_allclose(
    loaded.encode_texts(TEXTS), made.encode_texts(TEXTS), atol=1e-5
  )


def test_the_page_of_docs_runs(finished_run, small_data, tmp_path, monkeypatch):
  (tmp_path / 'workdir').mkdir()
  (tmp_path / 'workdir/rsicd').symlink_to(finished_run)
  (tmp_path / 'pictures').symlink_to(small_data / 'images')
  monkeypatch.chdir(tmp_path)
  blocks = re.findall(r'```python\n(.*?)```', DOCS.read_text(), re.DOTALL)
  assert len(blocks) >= 4
  names = {}
  for block in blocks:
    exec(block, names)
  assert len(names['hits']) == 12
  assert names['similarity'].shape == (2, 2)
  assert (tmp_path / 'page.html').read_text().startswith('<!doctype html>')


def test_the_package_alone_imports_no_jax():
  code = 'import sys, harma_jax; assert "jax" not in sys.modules; harma_jax.load'
  subprocess.run([sys.executable, '-c', code], check=True)
  with pytest.raises(AttributeError, match='lod'):
    harma_jax.lod  # noqa: B018, asked for its error
