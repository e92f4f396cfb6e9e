"""Where weights are found, and whose they are."""

import re

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from harma_jax.errors import UserError
from harma_jax.weights.published import where_published
from harma_jax.weights.sources import find_source, open_source, sha256

NAMES = {
  'open_clip': 'visual.class_embedding',
  'huggingface': 'vision_model.embeddings.class_embedding',
  'harma': 'model.visual.class_embedding',
}


@pytest.fixture
def touch(tmp_path):
  """`touch('a', 'b')`: empty files of a folder, which it returns."""

  def make(*names):
    for name in names:
      (tmp_path / name).write_text('')
    return tmp_path

  return make


@pytest.fixture
def one_tensor(tmp_path, write):
  """`one_tensor('a', 'b')`: the name of a file with tensors of these names."""

  def make(*names, file='model.safetensors'):
    return write(tmp_path / file, {name: np.zeros(2, np.float32) for name in names})

  return make


@pytest.mark.parametrize('kind', NAMES)
@pytest.mark.parametrize('file', ['open_clip_model.safetensors', 'any.thing.npz'])
def test_formats_are_told_by_content(one_tensor, kind, file):
  source = open_source(one_tensor(NAMES[kind], file=file))
  assert (source.format, source.layout) == (kind, kind)
  assert list(source.tensors) == [NAMES[kind]]
  assert (source.activation, source.told_by) == (None, '')


def test_other_tensors_are_refused(one_tensor):
  path = one_tensor('encoder.weight', 'encoder.bias')
  with pytest.raises(UserError, match=r'vision transformer.*encoder\.bias, encoder\.w'):
    open_source(path)


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'module._orig_mod.'])
def test_what_training_puts_before_names_is_taken_off(one_tensor, prefix):
  source = open_source(one_tensor(f'{prefix}{NAMES["harma"]}', f'{prefix}temp'))
  assert set(source.tensors) == {NAMES['harma'], 'temp'}


def test_the_names_of_a_custom_text_tower_are_plain_ones(one_tensor):
  path = one_tensor(NAMES['open_clip'], 'text.token_embedding.weight', 'text.ln_final')
  source = open_source(path)
  assert set(source.tensors) == {
    NAMES['open_clip'],
    'token_embedding.weight',
    'ln_final',
  }


def test_the_names_of_our_export_for_transformers_are_harmas(one_tensor):
  source = open_source(one_tensor('clip.visual.class_embedding', 'temp'))
  assert source.format == 'harma'
  assert set(source.tensors) == {NAMES['harma'], 'temp'}


def test_names_that_become_one_are_refused(one_tensor):
  path = one_tensor('text.token_embedding.weight', 'text.ln', 'ln', NAMES['open_clip'])
  with pytest.raises(UserError, match=r'one name for each tensor in .*model\.safet'):
    open_source(path)


def test_constants_beside_the_weights_are_ignored(one_tensor):
  constants = ('attn_mask', 'text_model.embeddings.position_ids', 'context_length')
  assert set(open_source(one_tensor(NAMES['open_clip'], *constants)).tensors) == {
    NAMES['open_clip']
  }


PAIRS = [
  ('open_clip_model.safetensors', 'open_clip_config.json'),
  ('open_clip_pytorch_model.bin', 'open_clip_config.json'),
  ('model.safetensors', 'config.json'),
  ('pytorch_model.bin', 'config.json'),
]


@pytest.mark.parametrize(('weights', 'config'), PAIRS)
def test_a_folder_is_its_weights_and_their_config(touch, weights, config):
  folder = touch(weights, config, 'README.md')
  found = folder / weights, folder / config
  assert find_source(str(folder)) == found
  assert find_source(str(folder / weights)) == found


def test_safetensors_of_openclip_come_first(touch):
  folder = touch(*{name for pair in PAIRS for name in pair})
  assert find_source(str(folder)) == (folder / PAIRS[0][0], folder / PAIRS[0][1])


def test_a_lone_file_needs_no_name_and_no_config(touch):
  folder = touch('checkpoint_best.pth', 'config.yaml', 'log.txt')
  assert find_source(str(folder)) == (folder / 'checkpoint_best.pth', None)
  folder = touch('config.json')
  expected = (folder / 'checkpoint_best.pth', folder / 'config.json')
  assert find_source(str(folder)) == expected


def test_a_config_is_not_that_of_another_file_beside_it(touch):
  folder = touch('model.safetensors', 'config.json', 'RemoteCLIP-ViT-B-32.pt')
  path = folder / 'RemoteCLIP-ViT-B-32.pt'
  assert find_source(str(path)) == (path, None)


def test_a_folder_of_several_weights_is_refused(touch):
  with pytest.raises(UserError, match=r'one weight file, .*found a\.pt, b\.pt\. Set'):
    find_source(str(touch('a.pt', 'b.pt')))


def test_a_folder_without_weights_is_the_users_mistake(tmp_path):
  with pytest.raises(UserError, match=r'model\.safetensors with .*found nothing\. Set'):
    find_source(str(tmp_path))


@pytest.mark.parametrize(
  'source', ['weights.npz', './owner/name', '/owner/name', '~/x']
)
def test_no_such_file_is_the_users_mistake(monkeypatch, tmp_path, source):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(
    UserError, match=f'hub repository.*{re.escape(repr(source))} is n'
  ):
    find_source(source)


@pytest.fixture
def hub(monkeypatch, tmp_path):
  """`hub(files, cached=())`: a hub whose every repository has them, and its cache."""

  def make(*files, cached=()):
    def download(repository, file):
      assert file not in cached
      if file not in files:
        raise EntryNotFoundError(f'404: no {file}')
      return str(tmp_path / repository / file)

    def load(repository, file):
      return str(tmp_path / repository / file) if file in cached else None

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    monkeypatch.setattr(huggingface_hub, 'try_to_load_from_cache', load)
    return tmp_path

  return make


@pytest.fixture
def no_hub(monkeypatch, hub):
  """`no_hub(error)`: what asks for a hub, once, gets an error."""

  def make(error, **cache):
    questions = []

    def download(*question):
      questions.append(question)
      raise error

    folder = hub(**cache)
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    return folder, questions

  return make


@pytest.mark.parametrize(('weights', 'config'), PAIRS)
def test_a_repository_of_the_hub_is_downloaded(hub, weights, config):
  folder = hub(weights, config, 'tokenizer.json', 'flax_model.msgpack')
  expected = folder / 'owner/name' / weights, folder / 'owner/name' / config
  assert find_source('owner/name') == expected


def test_a_config_of_the_hub_without_its_weights_is_passed_by(hub):
  folder = hub('open_clip_config.json', 'config.json', 'model.safetensors')
  expected = 'owner/name/model.safetensors', 'owner/name/config.json'
  assert find_source('owner/name') == tuple(folder / name for name in expected)


def test_a_file_of_a_repository_is_downloaded(hub):
  folder = hub('a.pt', 'b.pt', 'ckpt/b.pt')
  for file in ('b.pt', 'ckpt/b.pt'):
    expected = folder / 'owner/name' / file, None
    assert find_source(f'owner/name/{file}') == expected


def test_a_repository_of_other_files_says_how_to_name_one(hub):
  hub('a.pt', 'b.pt')
  with pytest.raises(UserError, match=r'say it: --config\.init=owner/name/FILE'):
    find_source('owner/name')


@pytest.mark.parametrize(('weights', 'config'), PAIRS)
def test_what_was_downloaded_before_needs_no_network(no_hub, weights, config):
  error = LocalEntryNotFoundError('offline')
  folder, questions = no_hub(error, cached=(weights, config))
  expected = folder / 'owner/name' / weights, folder / 'owner/name' / config
  assert find_source('owner/name') == expected
  assert find_source(f'owner/name/{weights}') == (expected[0], None)
  assert not questions


def test_a_hub_out_of_reach_is_asked_once_and_says_what_to_do(no_hub):
  _, questions = no_hub(LocalEntryNotFoundError('offline and not cached\nmore lines'))
  message = (
    r"'owner/name' .*: offline and not cached\. Download .*--config\.init=FOLDER"
  )
  with pytest.raises(UserError, match=message) as caught:
    find_source('owner/name')
  assert '\n' not in str(caught.value)
  assert len(questions) == 1


@pytest.mark.parametrize('error', [OSError, RuntimeError])
def test_a_hub_error_without_words_is_still_a_message(no_hub, error):
  no_hub(error())
  with pytest.raises(UserError, match=rf'neither: {error.__name__}\. Download'):
    find_source('owner/name')


def test_what_cannot_be_the_id_of_a_repository_is_refused():
  with pytest.raises(
    UserError, match=r"'owner/na me' as a path or on the hub; found neither: Repo id"
  ):
    find_source('owner/na me')


def test_the_hash_is_that_of_the_bytes(tmp_path):
  (tmp_path / 'file').write_bytes(b'abc')
  known = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  assert sha256(tmp_path / 'file') == known


# What is missing.


@pytest.mark.parametrize(
  ('source', 'words'),
  [
    (
      'models/RS5M_ViT-B-32_RET-2.pt/',
      r'GeoRSCLIP is .*: Zilun/GeoRSCLIP/ckpt/RS5M_ViT-B-32_RET-2.pt \(605 MB\); '
      r'--config.init=Zilun/GeoRSCLIP/ckpt/RS5M_ViT-B-32_RET-2.pt fetches it',
    ),
    ('./RemoteCLIP-ViT-L-14.pt', r'chendelong/RemoteCLIP/.*L-14.pt \(1.71 GB\)'),
    ('/w/remoteclip', r'RemoteCLIP-ViT-B-32.pt \(605 MB\), chendelong/RemoteCLIP/'),
    ('./FarSLIP2_ViT-B-16.pt', 'ZhenShiL/FarSLIP/FarSLIP2_ViT-B-16.pt; --config'),
    ('./skyclip/epoch_20.pt', r'SkyScript/ckpt/SkyCLIP_ViT_B32_.*zip, an archive with'),
    ('./Git-RSCLIP-base', r'lcybuaa/Git-RSCLIP-base \(406 MB\); --config'),
  ],
)
def test_a_missing_file_is_told_where_it_is_published(source, words):
  said = where_published(source)
  assert re.search(words, said), said
  if source.startswith(('.', '/')):
    with pytest.raises(UserError, match=words):
      find_source(source)


def test_of_other_names_nothing_is_told():
  assert where_published('/somewhere/else.pt') == ''
  with pytest.raises(UserError, match=r"'/somewhere/else.pt' is not there\.$"):
    find_source('/somewhere/else.pt')
