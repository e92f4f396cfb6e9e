"""The command line `python -m harma_jax.data`: exit codes, reports and messages."""

import json
import os
import subprocess
import sys

import grain  # noqa: F401  whose flags flagsaver would take back with the first call
import pytest
from absl import flags
from absl.testing import flagsaver

from harma_jax.data import __main__ as command_line
from harma_jax.errors import UserError

FLAGS = flags.FLAGS


@pytest.fixture
def call(monkeypatch):
  """`call('check', source=...)`: the exit code; at 80 columns."""
  monkeypatch.setenv('COLUMNS', '80')

  def run(*words, **values):
    with flagsaver.flagsaver(**values):
      return command_line.main(['data', *words])

  return run


@pytest.fixture
def faulty_data(write_data, tmp_path):
  root = write_data(tmp_path / 'faulty')
  (root / 'images/train_3.png').unlink()
  return root


def test_a_source_without_fault_gives_zero(call, small_data, capsys):
  assert call('check', source=str(small_data)) == 0
  output = capsys.readouterr().out
  assert 'errors: 0, warnings: 0' in output
  assert 'found' not in output


def test_an_error_gives_one_and_is_shown(call, faulty_data, capsys):
  assert call('check', source=str(faulty_data)) == 1
  output = capsys.readouterr().out
  assert 'images that are missing' in output
  assert 'train_3.png' in output
  assert output.endswith('errors: 1, warnings: 0\n')


def test_a_warning_gives_one_where_it_is_strict(call, write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  with (root / 'captions.jsonl').open('a') as file:
    file.write('{"image": "val_1.png", "caption": "[b]!?", "split": "val"}\n')
    file.write('{"image": "val_1.png", "caption": "!?", "split": "val"}\n')
  assert call('check', source=str(root)) == 0
  assert call('check', source=str(root), strict=True) == 1


def test_examples_are_few_and_the_file_has_all(call, write_data, tmp_path, capsys):
  root = write_data(tmp_path / 'data')
  for i in range(5):
    (root / f'images/train_{i}.png').unlink()
  out = tmp_path / 'report.json'
  assert call('check', source=str(root), out=str(out), examples=2) == 1
  assert capsys.readouterr().out.count('train_') == 2
  (finding,) = json.loads(out.read_text())['findings']
  assert finding['examples'] == [f'train_{i}.png' for i in range(5)]


def test_a_table_is_read_as_the_flags_say(call, small_data, tmp_path, capsys):
  rows = map(json.loads, (small_data / 'captions.jsonl').read_text().splitlines())
  lines = [f'/old/{row["image"]};{row["caption"]};{row["split"]}' for row in rows]
  text = '\n'.join(['picture;words;part', *lines]).replace('.png', '.tif')
  (tmp_path / 'own.csv').write_text(text)
  flags = {'source': str(tmp_path), 'annotations': 'own.csv'}
  flags |= {'images': str(small_data / 'images'), 'prefix': '/old=', 'match': 'name'}
  with pytest.raises(UserError, match=r'--columns=image=NAME,caption=NAME$'):
    call('check', **flags)
  columns = 'image=picture,caption=words,split=part'
  assert call('check', **flags, columns=columns) == 0
  assert 'differ in ending' in capsys.readouterr().out
  with pytest.raises(UserError, match=r'^--prefix: expected OLD=NEW'):
    call('check', **flags | {'prefix': 'old'})


def test_captions_are_cut_where_the_model_cuts_them(call, small_data, tmp_path, capsys):
  source = str(small_data)
  for length, cut in ((0, False), (3, True)):
    assert call('check', source=source, context_length=length) == 0
    assert ('captions that are cut' in capsys.readouterr().out) == cut
  with pytest.raises(UserError, match='--context_length: expected 3 or more, or 0'):
    call('check', source=source, context_length=2)
  with pytest.raises(UserError, match=r'--tokenizer: expected a folder with one of'):
    call('check', source=source, tokenizer=str(tmp_path))


def test_prepare_and_then_verify(call, small_data, tmp_path, capsys):
  out = tmp_path / 'out'
  flags = {'source': str(small_data), 'out': str(out), 'dataset': 'captions'}
  assert call('prepare', **flags, splits=['val', 'test']) == 0
  first = capsys.readouterr().out
  assert first.endswith('checksums, counts and captions verified\n')
  assert 'train' not in first
  assert call('prepare', **flags, splits=['val', 'test']) == 0
  assert capsys.readouterr().out == first
  (out / 'features.json').write_text('{}')
  with pytest.raises(UserError, match=r'features\.json: expected bytes'):
    call('prepare', **flags, splits=['val', 'test'])


@pytest.mark.parametrize('words', [(), ('chek',), ('check', 'prepare')])
def test_another_command_is_a_mistake(call, words):
  with pytest.raises(UserError, match='Expected one of the commands prepare, check'):
    call(*words)


def test_what_is_needed_is_asked_for(call, small_data, tmp_path):
  with pytest.raises(UserError, match='--source=FOLDER'):
    call('check')
  with pytest.raises(UserError, match='--out=FOLDER'):
    call('prepare', source=str(small_data))
  with pytest.raises(UserError, match='--dataset=DATASET'):
    call('prepare', source=str(small_data), out=str(tmp_path))
  with pytest.raises(
    UserError, match='--dataset=coco: expected one of captions, rsicd'
  ):
    call('prepare', source=str(small_data), out=str(tmp_path), dataset='coco')


def test_messages_speak_of_these_flags(call, small_data, tmp_path):
  for values in (
    {'source': str(tmp_path / 'no')},
    {'source': str(tmp_path)},
    {'source': str(small_data), 'images': 'pictures'},
    {'source': str(small_data), 'annotations': 'rows.json'},
  ):
    with pytest.raises(UserError, match=r'[Pp]ass --\w+=') as caught:
      call('check', **values)
    assert 'config' not in str(caught.value)
    assert 'data.' not in str(caught.value)


def test_exit_codes_of_the_program(faulty_data):
  def run(*words):
    command = [sys.executable, '-m', 'harma_jax.data', *words]
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    return subprocess.run(command, capture_output=True, text=True, env=environment)

  assert run('check', f'--source={faulty_data}').returncode == 1
  mistake = run('check', '--source=/no/such/folder')
  assert (mistake.returncode, mistake.stdout) == (2, '')
  assert mistake.stderr.startswith('error: --source: expected the folder')
  assert mistake.stderr.count('\n') == 1


def test_archives_are_prepared_and_not_checked(call, archives, tmp_path, capsys):
  source = tmp_path / 'shards'
  source.mkdir()
  members = [*archives['img2dataset'](range(3)), ('9.jpg', b'no picture')]
  archives['tar'](source / 'train-0.tar', members)
  with pytest.raises(UserError, match='found archives, which prepare reads'):
    call('check', source=str(source))
  flags = {'source': str(source), 'out': str(tmp_path / 'out'), 'dataset': 'captions'}
  with pytest.raises(UserError, match=r'9\.jpg: expected a caption beside it'):
    call('prepare', **flags)
  flags |= {'out': str(tmp_path / 'other'), 'on_bad_image': 'skip'}
  assert call('prepare', **flags) == 0
  assert 'left out: 1 pictures, see' in capsys.readouterr().out
