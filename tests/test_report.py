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
