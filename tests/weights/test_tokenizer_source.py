"""Where tokenizers are found: beside weights, in a run, in the hub's cache."""

import pathlib

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from harma_jax.errors import UserError
from harma_jax.weights.tokenizer_source import find_tokenizer

REPOSITORY = 'google/siglip2-base-patch16-256'


def test_beside_weights(write_tokenizer, tmp_path):
  weights = tmp_path / 'model.safetensors'
  weights.write_bytes(b'')
  assert find_tokenizer(str(tmp_path)) is find_tokenizer(str(weights)) is None
  write_tokenizer(tmp_path)
  for source in (tmp_path, weights, tmp_path / 'tokenizer.json'):
    assert find_tokenizer(str(source)) == tmp_path
  assert find_tokenizer('') is None
  assert find_tokenizer(str(tmp_path / 'missing')) is None


def test_in_a_run(write_tokenizer, finished_run, tmp_path):
  assert find_tokenizer(str(finished_run)) is None
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'config.json').write_bytes((finished_run / 'config.json').read_bytes())
  write_tokenizer(run / 'tokenizer')
  assert find_tokenizer(str(run)) == run / 'tokenizer'


@pytest.fixture
def hub(monkeypatch, tmp_path):
  """`hub(remote, cached)`: its files; returns what was asked for."""

  def make(remote=(), cached=(), error=None):
    asked = []

    def download(repository, name, *, local_files_only):
      assert repository == REPOSITORY
      asked.append((name, local_files_only))
      if name in cached:
        return str(tmp_path / name)
      if local_files_only:
        raise LocalEntryNotFoundError('not in the cache')
      if error:
        raise error
      if name in remote:
        return str(tmp_path / name)
      raise EntryNotFoundError('404')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    return asked

  return make


@pytest.mark.parametrize('source', [REPOSITORY, f'{REPOSITORY}/model.safetensors'])
def test_a_repository_is_asked_for_what_it_has(hub, source, tmp_path):
  asked = hub(remote=('spiece.model', 'tokenizer_config.json'))
  assert find_tokenizer(source) == pathlib.Path(tmp_path)
  fetched = [name for name, local in asked if not local]
  assert fetched == [
    *('tokenizer.json', 'spiece.model', 'tokenizer_config.json'),
    'special_tokens_map.json',
  ]
  assert hub() is not None
  assert find_tokenizer(source) is None


def test_the_cache_needs_no_network(hub, tmp_path):
  asked = hub(cached=('tokenizer.json',), error=OSError('offline'))
  assert find_tokenizer(REPOSITORY) == pathlib.Path(tmp_path)
  assert all(local for _, local in asked)


@pytest.mark.parametrize(
  'error', [LocalEntryNotFoundError('offline, or so'), OSError('offline, or so')]
)
def test_without_network_and_cache_the_cure_is_named(hub, error):
  hub(error=error)
  expected = rf'offline, or so.*hf download {REPOSITORY} tokenizer\.json'
  with pytest.raises(UserError, match=expected):
    find_tokenizer(REPOSITORY)
