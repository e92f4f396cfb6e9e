"""The command that writes the page of a run: where to, and what it says of it."""

import shutil

import pytest
from absl.testing import flagsaver

from harma_jax.errors import UserError
from harma_jax.report import main


def test_the_command_writes_the_page(finished_run, capsys, tmp_path):
  workdir = shutil.copytree(finished_run, tmp_path / 'run')
  with flagsaver.flagsaver(workdir=str(workdir)):
    main(['report'])
  written = (workdir / 'report.html').read_text()
  assert 'Report of run' in written
  assert f'report.html: {len(written.encode()):,} bytes' in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_a_mistake(finished_run, tmp_path):
  out = str(tmp_path / 'none/report.html')
  with (
    flagsaver.flagsaver(workdir=str(finished_run), out=out),
    pytest.raises(UserError, match=f'--out={out}: expected a file'),
  ):
    main(['report'])


def test_the_data_may_be_elsewhere(finished_run, capsys, tmp_path):
  out, gone = tmp_path / 'page.html', str(tmp_path / 'gone')
  with flagsaver.flagsaver(workdir=str(finished_run), out=str(out), data_root=gone):
    main(['report'])
  assert 'The data set could not be read' in out.read_text()


def test_several_folders_are_one_page(finished_run, capsys, tmp_path):
  other = shutil.copytree(finished_run, tmp_path / 'other')
  pages = []
  for words, flag in (
    ([str(finished_run), str(other)], None),
    ([], f'{finished_run},{other}'),
  ):
    out = tmp_path / 'page.html'
    with flagsaver.flagsaver(workdir=flag, out=str(out)):
      main(['report', *words])
    pages.append(out.read_text())
  assert pages[0] == pages[1]
  assert f'Report of {finished_run.name}, other' in pages[0]


@pytest.mark.parametrize(
  ('words', 'workdir', 'found'),
  [
    (['a', 'b'], 'c', 'found a b and --workdir=c'),
    (['a', 'b'], None, 'Expected --out=FILE.html beside several'),
    ([], 'a,,b', 'found a,,b, with an empty'),
    ([], None, 'Expected --workdir=FOLDER'),
  ],
)
def test_folders_that_are_not_clear_are_a_mistake(words, workdir, found):
  with flagsaver.flagsaver(workdir=workdir), pytest.raises(UserError, match=found):
    main(['report', *words])
