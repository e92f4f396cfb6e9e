"""Archives from strangers, some bytes changed: samples or one message, nothing else."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harma_jax.data.archives.tar_files import read_tar
from harma_jax.data.archives.zip_files import read_zip
from harma_jax.data.reading import AS_WRITTEN
from harma_jax.errors import UserError

READERS = {
  'tar': lambda path: read_tar(path, asked=''),
  'tar.gz': lambda path: read_tar(path, asked=''),
  'zip': lambda path: read_zip(path, reading=AS_WRITTEN),
}


@pytest.fixture(scope='session')
def contents(archives, tmp_path_factory):
  """`contents(kind)`: the bytes of a whole archive."""
  folder = tmp_path_factory.mktemp('whole')
  members = list(archives['img2dataset'](range(2)))
  table = [('rows.csv', b'image,caption\na.jpg,one\n'), ('a.jpg', b'content')]
  paths = {
    'tar': archives['tar'](folder / 'a.tar', members),
    'tar.gz': archives['tar'](folder / 'a.tar.gz', members, mode='w:gz'),
    'zip': archives['zip'](folder / 'a.zip', table),
  }
  return lambda kind: paths[kind].read_bytes()


@pytest.mark.parametrize('kind', READERS)
@settings(
  max_examples=60,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damage_is_a_message_or_seen_in_the_samples(
  kind, data, contents, damaged, tmp_path
):
  path = tmp_path / f'a.{kind}'
  path.write_bytes(data.draw(damaged([contents(kind)])))
  samples = []
  with contextlib.suppress(UserError):  # any other exception is a failure
    samples = list(READERS[kind](path))
  for sample in samples:
    assert sample.entry.problem or sample.content
    assert '..' not in str(sample.entry.image).split('/')
