"""A folder of drawn scenes, beside one image and prompt at a time."""

import numpy as np
import pytest
from PIL import Image

from harma_jax.api import load, load_start
from harma_jax.classification.folders import read_folders
from harma_jax.classification.results import classify_folders
from harma_jax.data.scenes import KINDS, render, sample_scene

TEMPLATES = ('{}', 'a {}', '{} from above')


def folder_of(kind):
  return kind.title().replace(' ', '')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
  """Two to four scenes of every kind, each kind in its folder."""
  root = tmp_path_factory.mktemp('scenes')
  rng = np.random.default_rng(0)
  drawn = dict.fromkeys(KINDS, 0)
  while min(drawn.values()) < 2:
    scene = sample_scene(rng)
    if drawn[scene.kind] == 4:
      continue
    drawn[scene.kind] += 1
    pixels = render(scene, rng, side=32, style='summer')
    path = root / folder_of(scene.kind) / f'{drawn[scene.kind]}.png'
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
  return root


@pytest.fixture(scope='module')
def templates(tmp_path_factory):
  """A file of short prompts: the toy sees six words."""
  path = tmp_path_factory.mktemp('templates') / 'short.txt'
  path.write_text('\n'.join(TEMPLATES))
  return str(path)


@pytest.fixture(scope='module')
def models(finished_run):
  return {'before': load_start(finished_run), 'model': load(finished_run)}


@pytest.fixture(scope='module')
def results(models, scenes, templates):
  classes = read_folders(scenes, templates=templates)
  return classify_folders(models, classes, batch_size=10)  # of which there are several


def guess_plainly(model, scenes):
  """Of each image, in order, the folder that it is taken for; one thing at a time."""
  prototypes = {}
  for kind in KINDS:
    prompts = [template.replace('{}', kind) for template in TEMPLATES]
    mean = np.mean([model.encode_texts([prompt])[0] for prompt in prompts], axis=0)
    prototypes[folder_of(kind)] = mean / np.linalg.norm(mean)
  guesses = []
  for path in sorted(scenes.glob('*/*.png')):
    [feature] = model.encode_images([path])
    guesses.append(max(prototypes, key=lambda name: feature @ prototypes[name]))
  return guesses


@pytest.mark.parametrize('key', ['model', 'before'])
def test_accuracies_equal_those_of_one_image_at_a_time(models, scenes, results, key):
  guesses = guess_plainly(models[key], scenes)
  truths = [path.parent.name for path in sorted(scenes.glob('*/*.png'))]
  right = np.equal(guesses, truths)
  assert results['n_images'] == len(right)
  assert results[key]['top1']['value'] == pytest.approx(100 * right.mean())
  for row in results['classes']:
    of_class = np.equal(truths, row['folder'])
    assert row['images'] == of_class.sum()
    assert row[key] == pytest.approx(100 * right[of_class].mean())
  mean = np.mean([row[key] for row in results['classes']])
  assert results[key]['mean_per_class_top1']['value'] == pytest.approx(mean)
  if key == 'model':
    names = [row['folder'] for row in results['classes']]
    expected = np.zeros((len(names),) * 2, int)
    for truth, guess in zip(truths, guesses, strict=True):
      expected[names.index(truth), names.index(guess)] += 1
    assert results['confusion'] == expected.tolist()


def test_results_hold_what_was_asked_and_the_difference(results):
  assert results['templates'] == list(TEMPLATES)
  assert results['skipped'] == {}
  assert {row['name'] for row in results['classes']} == set(KINDS)
  assert results['chance']['top5'] == pytest.approx(500 / len(KINDS))
  for name, row in results['difference'].items():
    before, after = (results[key][name]['value'] for key in ('before', 'model'))
    assert row['value'] == pytest.approx(after - before)


def test_a_model_alone_has_the_same_accuracies(models, scenes, templates, results):
  classes = read_folders(scenes, templates=templates)
  found = classify_folders({'model': models['model']}, classes, batch_size=64)
  assert found['model'] == results['model']
  assert results.keys() - found.keys() == {'before', 'difference'}
