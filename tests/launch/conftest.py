"""Programs of clusters, replaced by ones that note how they are called."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
# One call a line; answers as FAKE_STATE and FAKE_CODE say.
FAKE = f"""#!{sys.executable}
import json, os, sys
name = os.path.basename(sys.argv[0])
with open(os.environ['FAKE_CALLS'], 'a') as file:
  file.write(json.dumps([name, *sys.argv[1:]]) + chr(10))
if 'describe' in sys.argv:
  print(os.environ.get('FAKE_STATE', ''))
if 'harma_jax.main' in ' '.join(sys.argv):
  sys.exit(int(os.environ.get('FAKE_CODE', '0')))
"""


@pytest.fixture
def shell(tmp_path):
  """`shell(file, *words, input='', **environ)`: bash runs a file of launch/.

  Returns what ended, and the calls of gcloud, srun and scontrol as lists of words.
  """
  fakes = tmp_path / 'fakes'
  fakes.mkdir()
  for name in ('gcloud', 'srun', 'scontrol'):
    (fakes / name).write_text(FAKE)
    (fakes / name).chmod(0o755)

  def run(file, *words, input='', **environ):
    calls = tmp_path / 'calls'
    calls.write_text('')
    own = {'PATH': f'{fakes}:{os.environ["PATH"]}', 'FAKE_CALLS': str(calls)}
    ended = subprocess.run(
      ['bash', REPOSITORY / 'launch' / file, *words],
      cwd=tmp_path,
      env=os.environ | own | environ,
      input=input,
      capture_output=True,
      text=True,
      timeout=60,
    )
    return ended, [json.loads(line) for line in calls.read_text().splitlines()]

  return run
