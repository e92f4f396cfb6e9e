"""The command on a folder of drawn scenes, beside one image and prompt at a time."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from harma_jax.api import load, load_start
from harma_jax.classify import classify, load_models, main
from harma_jax.data.scenes import KINDS, render, sample_scene
from harma_jax.errors import UserError
from harma_jax.results.export import export

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
def results(finished_run, scenes, templates):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('harma_jax.classify.BATCH_SIZE', 10)  # of which there are several
    return classify(finished_run, images=scenes, templates=templates)


@pytest.fixture
def call(monkeypatch, capsys):
  """`call(images=...)`: what is printed."""

  def run(*words, **values):
    with flagsaver.flagsaver(**values):
      main(['classify', *words])
    return capsys.readouterr().out

  return run


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


@pytest.mark.parametrize(('key', 'load_it'), [('model', load), ('before', load_start)])
def test_accuracies_equal_those_of_one_image_at_a_time(
  finished_run, scenes, results, key, load_it
):
  guesses = guess_plainly(load_it(finished_run), scenes)
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


def test_results_hold_what_was_asked_and_the_difference(results, scenes, finished_run):
  assert results['templates'] == list(TEMPLATES)
  assert (results['images'], results['skipped']) == (str(scenes), {})
  assert results['model_path'] == str(finished_run)
  assert {row['name'] for row in results['classes']} == set(KINDS)
  assert results['chance']['top5'] == pytest.approx(500 / len(KINDS))
  for name, row in results['difference'].items():
    before, after = (results[key][name]['value'] for key in ('before', 'model'))
    assert row['value'] == pytest.approx(after - before)


def test_the_command_prints_tables_and_writes_all_numbers(
  call, finished_run, scenes, templates, results, tmp_path
):
  out, classes = tmp_path / 'out.json', tmp_path / 'classes.json'
  classes.write_text(json.dumps({'Harbours': 'harbour with ships'}))
  values = {'workdir': str(finished_run), 'images': str(scenes), 'json': str(out)}
  printed = call(**values, templates=templates, classes=str(classes))
  for words in ('harbour with ships', 'storage tanks', 'before', 'chance', 'taken for'):
    assert words in printed
  written = json.loads(out.read_text())
  assert written.keys() == results.keys()
  assert [row['name'] for row in written['classes']].count('harbour with ships') == 1
  top1 = written['model']['top1']
  assert f'{top1["value"]:.1f} ({top1["low"]:.1f} to {top1["high"]:.1f})' in printed


def test_weights_of_no_run_have_no_before(
  call, finished_run, scenes, templates, results, tmp_path
):
  export(
    finished_run,
    format='open_clip',
    out=tmp_path / 'clip',
    overwrite=False,
    defaults={},
  )
  found = classify(tmp_path / 'clip', images=scenes, templates=templates)
  assert 'before' not in found
  assert 'difference' not in found
  assert found['model'] == results['model']
  printed = call(model=str(tmp_path / 'clip'), images=str(scenes), templates=templates)
  assert 'before' not in printed


def test_a_lost_start_is_told_and_left_out(finished_run, monkeypatch, caplog):
  def lost(path):
    raise UserError(f'{path}: the weights are gone.')

  monkeypatch.setattr('harma_jax.classify.load_start', lost)
  assert list(load_models(finished_run)) == ['model']
  assert 'the weights are gone' in caplog.text


@pytest.fixture
def damaged(scenes, tmp_path):
  """The scenes of two kinds, one image of the first damaged."""
  for folder in ('Woods', 'Roads'):
    (tmp_path / folder).mkdir()
    for path in (scenes / folder).iterdir():
      (tmp_path / folder / path.name).write_bytes(path.read_bytes())
  (tmp_path / 'Woods/0.png').write_bytes(b'no image')
  return tmp_path


def test_an_unreadable_image_is_named_or_skipped(call, damaged, finished_run, caplog):
  values = {'workdir': str(finished_run), 'images': str(damaged)}
  with pytest.raises(UserError, match=r'0\.png: .*--on_bad_image=skip'):
    call(**values)
  results = classify(finished_run, images=damaged, skip=True)
  assert list(results['skipped']) == [str(damaged / 'Woods/0.png')]
  assert results['n_images'] == len(list(damaged.glob('*/[1-9].png')))
  assert 'Skipped 1 images' in caplog.text
  assert results['chance'] == {'top1': 50, 'mean_per_class_top1': 50}


def test_a_class_without_a_readable_image_is_refused(damaged, finished_run):
  for path in (damaged / 'Woods').glob('[1-9].png'):
    path.unlink()
  with pytest.raises(
    UserError, match=r'found none in Woods\. The first there: .*0\.png'
  ):
    classify(finished_run, images=damaged, skip=True)


@pytest.mark.parametrize(
  ('words', 'values', 'message'),
  [
    (('pictures',), {}, 'found pictures'),
    ((), {}, 'found neither'),
    ((), {'workdir': 'a', 'model': 'b'}, 'found both'),
    ((), {'workdir': 'a', 'images': 'gone'}, 'gone is none'),
    ((), {'workdir': 'gone'}, 'gone'),
    ((), {'workdir': 'a', 'classes': 'gone.tsv'}, '--classes=gone.tsv'),
    ((), {'workdir': 'a', 'templates': 'gone.txt'}, '--templates=gone.txt'),
  ],
)
def test_mistakes_are_one_message(call, scenes, words, values, message):
  with pytest.raises(UserError, match=message):
    call(*words, **{'images': str(scenes)} | values)


def test_a_file_that_cannot_be_written_is_named(
  call, finished_run, scenes, templates, tmp_path
):
  values = {'workdir': str(finished_run), 'images': str(scenes)}
  with pytest.raises(UserError, match=r'--json=.*can be written'):
    call(**values, templates=templates, json=str(tmp_path / 'gone/out.json'))
