"""The command that shows conflicting captions: a table, and a page beside the run."""

import json
import shutil

import pytest
from absl.testing import flagsaver

from harma_jax.conflicts import main
from harma_jax.errors import UserError


@pytest.fixture
def run(finished_run, small_data, tmp_path):
  """A run's folder with three captions noted after step 6."""
  workdir = shutil.copytree(finished_run, tmp_path / 'run')
  rows = [
    {
      'step': 6,
      'row': row,
      'image': str(small_data / f'images/train_{row // 2}.png'),
      'caption': f'caption {row}',
      'mean_cosine': row / 10 - 0.5,
      'seen': 4,
      'dropped': 1.0,
    }
    for row in (0, 2, 4)
  ]
  (workdir / 'conflicts.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  return workdir


def test_the_worst_are_printed_and_shown(run, capsys, caplog, tmp_path):
  with flagsaver.flagsaver(workdir=str(run), worst=2):
    main(['conflicts'])
  printed, page = capsys.readouterr().out, (run / 'conflicts.html').read_text()
  for text in (printed, page):
    assert 'caption 0' in text
    assert 'caption 2' in text
    assert 'caption 4' not in text
  out = tmp_path / 'other.html'
  with flagsaver.flagsaver(workdir=str(run), worst=20, out=str(out)):
    main(['conflicts'])
  assert out.read_text().count('<figure') == 3


def test_a_run_without_harmonization_is_a_mistake(finished_run):
  with (
    flagsaver.flagsaver(workdir=str(finished_run)),
    pytest.raises(UserError, match=r'conflicts\.jsonl.*harmonization\.pair'),
  ):
    main(['conflicts'])


def test_a_page_that_cannot_be_written_is_one_message(run, tmp_path):
  with (
    flagsaver.flagsaver(workdir=str(run), out=str(tmp_path / 'gone/page.html')),
    pytest.raises(UserError, match=r'--out=.*can be written; .* Give another --out\.'),
  ):
    main(['conflicts'])
