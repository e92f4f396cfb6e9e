"""A tiny SigLIP from random weights, then HarMA on it, as the quickstart does it."""

import json
import os
import subprocess
import sys

import pytest

from harma_jax.rundir.workdir import PRETRAIN

# A first bias of -10, for any batch, gave 32 and 1.4.
SCRATCH, ADAPTED = 55, 4


def falls(workdir):
  """Whether the mean loss of the last tenth of the steps is below that of the first."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if 'contrastive' in row]
  losses = [row['contrastive'] for row in rows]
  tenth = max(len(losses) // 10, 1)
  return sum(losses[-tenth:]) < sum(losses[:tenth])


def recalls_of(workdir):
  """Mean recall on test by row: of chance, before, and of the selected step."""
  rows = json.loads((workdir / 'results.json').read_text())['splits']['test']
  selected = next(row for name, row in rows.items() if name.endswith('selected'))
  return [row['mean_recall'] for row in (rows['chance'], rows['step 0'], selected)]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_harma_raises_the_recall_of_a_siglip_trained_from_scratch(
  tmp_path, environment
):
  """In a process of its own: the tests' compiler flags are for short programs."""
  fields = {
    'model.size': 'tiny-siglip,patch_size=16',
    'data.long_texts': 'cut',
    'data.root': tmp_path / 'scenes',
  }
  command = [
    *(sys.executable, '-m', 'harma_jax.main', '--config=quickstart.py'),
    f'--workdir={tmp_path / "run"}',
    *(f'--config.{name}={value}' for name, value in fields.items()),
  ]
  own = {'XLA_FLAGS': '', 'PJRT_NPROC': str(os.cpu_count())}
  subprocess.run(command, env=environment | own, check=True)
  assert falls(tmp_path / 'run' / PRETRAIN)
  chance, before, selected = recalls_of(tmp_path / 'run' / PRETRAIN)
  assert before < 2 * chance
  assert selected > SCRATCH
  _, before, selected = recalls_of(tmp_path / 'run')
  assert selected > ADAPTED * before
