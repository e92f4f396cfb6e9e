"""A run that is killed at random times ends as one that was not."""

import json
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_as_if_it_had_not_been(tmp_path):
  out = tmp_path / 'report.json'
  command = [sys.executable, '-m', 'benchmarks.faults', '--kills=10', f'--out={out}']
  subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
  report = json.loads(out.read_text())
  assert report['kills'] == sum(report['kills_during'].values()) == 10
  assert report['runs_ended'] == report['runs_identical'] > 0
  assert report['starts'] == report['kills'] + report['runs_ended']
