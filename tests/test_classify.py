"""The command line that classifies a folder: tables, numbers and messages."""

import json

import pytest
from absl.testing import flagsaver

from harma_jax.classify import load_models, main
from harma_jax.errors import UserError
from harma_jax.results.export import export


@pytest.fixture
def scenes(small_data, tmp_path):
  """Two images of each of three classes."""
  for number, folder in enumerate(['Harbours', 'StorageTanks', 'Woods'] * 2):
    path = tmp_path / 'scenes' / folder / f'{number}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((small_data / f'images/val_{number}.png').read_bytes())
  return tmp_path / 'scenes'


@pytest.fixture
def templates(tmp_path):
  """A file of short prompts: the toy sees six words."""
  (tmp_path / 'short.txt').write_text('{}\na {}')
  return str(tmp_path / 'short.txt')


@pytest.fixture
def call(monkeypatch, capsys):
  """`call(images=...)`: what is printed."""

  def run(*words, **values):
    with flagsaver.flagsaver(**values):
      main(['classify', *words])
    return capsys.readouterr().out

  return run


@pytest.fixture
def classify(call, scenes, templates, tmp_path):
  """`classify(workdir=...)`: what is printed of the scenes, and the numbers."""

  def run(**values):
    out = tmp_path / 'out.json'
    given = {'images': str(scenes), 'templates': templates, 'out': str(out)}
    printed = call(**given | values)
    return printed, json.loads(out.read_text())

  return run


def test_tables_are_printed_and_all_numbers_written(
  classify, finished_run, scenes, tmp_path
):
  classes = tmp_path / 'classes.json'
  classes.write_text(json.dumps({'Harbours': 'harbour with ships'}))
  printed, written = classify(workdir=str(finished_run), classes=str(classes))
  for words in ('harbour with ships', 'storage tanks', 'before', 'chance', 'taken for'):
    assert words in printed
  assert written['model_path'] == str(finished_run)
  assert written['images'] == str(scenes)
  assert (written['n_images'], written['skipped']) == (6, {})
  assert written['templates'] == ['{}', 'a {}']
  names = [row['name'] for row in written['classes']]
  assert names == ['harbour with ships', 'storage tanks', 'woods']
  top1 = written['model']['top1']
  assert f'{top1["value"]:.1f} ({top1["low"]:.1f} to {top1["high"]:.1f})' in printed


def test_weights_of_no_run_have_no_before(classify, finished_run, tmp_path):
  out = tmp_path / 'clip'
  export(finished_run, format='open_clip', out=out, overwrite=False)
  _, of_run = classify(workdir=str(finished_run))
  printed, found = classify(workdir=None, model=str(tmp_path / 'clip'))
  assert of_run.keys() - found.keys() == {'before', 'difference'}
  assert found['model'] == of_run['model']
  assert 'before' not in printed


def test_a_lost_start_is_told_and_left_out(finished_run, monkeypatch, caplog):
  def lost(path):
    raise UserError(f'{path}: the weights are gone.')

  monkeypatch.setattr('harma_jax.api.load_start', lost)
  assert list(load_models(finished_run)) == ['model']
  assert 'the weights are gone' in caplog.text


def test_an_unreadable_image_is_named_or_skipped(classify, scenes, finished_run):
  (scenes / 'Woods/2.png').write_bytes(b'no image')
  with pytest.raises(UserError, match=r'2\.png: .*--on_bad_image=skip'):
    classify(workdir=str(finished_run))
  _, found = classify(workdir=str(finished_run), on_bad_image='skip')
  assert list(found['skipped']) == [str(scenes / 'Woods/2.png')]
  assert found['n_images'] == 5


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


def test_a_file_that_cannot_be_written_is_named(classify, finished_run, tmp_path):
  with pytest.raises(UserError, match=r'--out=.*can be written'):
    classify(workdir=str(finished_run), out=str(tmp_path / 'gone/out.json'))
