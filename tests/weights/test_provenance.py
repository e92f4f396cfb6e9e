"""The record of where weights come from."""

import hashlib
import json
import pathlib

import numpy as np
import pytest

from harma_jax.weights.provenance import provenance
from harma_jax.weights.sources import Source


@pytest.fixture
def record(tmp_path, make_clip, random_params, tensors_of):
  """`record(name, init=None, model=None, **of_source)`: of a file of this name."""
  clip = make_clip(shared_adapter='text')
  tensors = tensors_of(clip, random_params(clip), 'harma')

  def make(name, *, init=None, model=clip, settings=(), told_by=''):
    path = tmp_path / name
    path.write_bytes(b'content')
    source = Source(
      path=path,
      format='harma',
      tensors=tensors,
      settings=dict(settings),
      told_by=told_by,
    )
    return provenance(source, init=init or str(path), model=model)

  return make


def test_it_says_what_was_loaded_and_is_json(record, tmp_path):
  found = record('weights.pth')
  assert found == {
    'init': str(tmp_path / 'weights.pth'),
    'file': str(tmp_path / 'weights.pth'),
    'sha256': hashlib.sha256(b'content').hexdigest(),
    'format': 'harma',
    'matched': {'tensors': 121, 'adapters': 'its own', 'positions': 'of 16 px'},
    'activation': 'gelu',
    'activation_known_from': 'config.model.size',
    'notes': [],
  }
  assert json.loads(json.dumps(found)) == found


def test_a_hub_id_stays_what_the_user_said(record):
  found = record('model.bin', init='owner/name', told_by='the config')
  assert (found['init'], found['activation_known_from']) == ('owner/name', 'the config')
  assert pathlib.Path(found['file']).name == 'model.bin'


def test_interpolated_positions_are_said(record, make_clip):
  clip = make_clip()
  size = type(clip.size)(**vars(clip.size) | {'image_size': 32})
  found = record('model.bin', model=make_clip(size=size))
  assert found['matched']['positions'] == 'of 16 px, interpolated to 32 px'


def test_where_adapters_come_from_is_said(make_clip, random_params, tensors_of, record):
  plain = make_clip(adapter=None, shared_adapter='none')
  assert record('a', model=plain)['matched']['adapters'] == 'no'


@pytest.mark.parametrize(
  ('name', 'init', 'note'),
  [
    ('RS5M_ViT-B-32_RET-2.pt', None, 'GeoRSCLIP RET-2 was tuned on RSICD and RSITMD'),
    ('weights.pt', 'some/one/RS5M_RET_2.pt', 'GeoRSCLIP RET-2'),
    ('RemoteCLIP-ViT-B-32.pt', None, 'RemoteCLIP was trained on RSICD, RSITMD'),
    ('RS5M_ViT-B-32.pt', None, ''),
    ('RS5M_ViT-B-32_RET-20.pt', None, ''),
  ],
)
def test_weights_that_have_seen_the_evaluation_sets_are_noted(
  record, caplog, name, init, note
):
  notes = record(name, init=init)['notes']
  assert len(notes) == bool(note)
  assert all(text.startswith(note) for text in notes)
  assert bool(note) == bool(caplog.records)
  assert np.all([text in caplog.text for text in notes])
