"""Addresses of data sets on the hub, and its cache without a network."""

import huggingface_hub
import pytest

from harma_jax.data.archives.hub import Address, download, read_address
from harma_jax.data.archives.shards import find_shards
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('source', 'address'),
  [
    ('hf://datasets/a/rsicd', Address('a/rsicd', None, '')),
    ('hf://datasets/a/b.c/data/train-*', Address('a/b.c', None, 'data/train-*')),
    ('hf://datasets/a/b@v1/x.tar', Address('a/b', 'v1', 'x.tar')),
    ('hf://datasets/a/b@v1', Address('a/b', 'v1', '')),
  ],
)
def test_an_address_has_these_parts(source, address):
  assert read_address(source) == address


@pytest.mark.parametrize('source', ['hf://a/b', 'hf://datasets/a', 'hf://datasets/'])
def test_another_address_is_the_users_mistake(source):
  with pytest.raises(UserError, match='expected hf://datasets/OWNER/NAME'):
    read_address(source)


@pytest.fixture
def cache(monkeypatch, tmp_path):
  """The snapshot of `owner/name` in a cache of the hub, which is out of reach."""
  root = tmp_path / 'datasets--owner--name'
  (root / 'refs').mkdir(parents=True)
  (root / 'refs/main').write_text('0' * 40)
  snapshot = root / 'snapshots' / ('0' * 40)
  (snapshot / 'data').mkdir(parents=True)
  fetch = huggingface_hub.snapshot_download

  def fetch_from_cache(*args, **kwargs):
    return fetch(*args, **kwargs, cache_dir=tmp_path, local_files_only=True)

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', fetch_from_cache)
  return snapshot


def test_what_was_downloaded_before_needs_no_network(cache, archives):
  for name in ('train-0.tar', 'train-1.tar', 'test-0.tar'):
    archives['tar'](cache / 'data' / name, [])
  shards = find_shards('hf://datasets/owner/name')
  assert [(each.label, each.split) for each in shards] == [
    ('data/test-0', 'test'),
    ('data/train-0', 'train'),
    ('data/train-1', 'train'),
  ]
  shards = find_shards('hf://datasets/owner/name/data/train-*')
  assert [each.label for each in shards] == ['train-0', 'train-1']


def test_a_hub_out_of_reach_says_what_to_do(cache):
  with pytest.raises(UserError, match=r'neither: .*hf download --repo-type=dataset'):
    download('hf://datasets/owner/other')
