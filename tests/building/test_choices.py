"""What a config leaves open, by the devices, their memory and the batch."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building import choices
from harma_jax.building.choices import (
  FASTEST,
  KEPT,
  SHARE,
  choose_layers,
  choose_remat,
  fit_to_devices,
  kept_bytes,
)
from harma_jax.building.model import build_model
from harma_jax.devices.mesh import make_mesh
from harma_jax.devices.targets import GIB, Target, named_target
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import named_size
from harma_jax.model.transformer import REMAT

POLICIES = tuple(KEPT)  # from the one that keeps most
CLIP = Clip(size=named_size('ViT-B-32'), dtype=jnp.bfloat16)
PAIRS = {'images': 428, 'captions': 428, 'length': 77}


def mesh_of(platform, *, size=8):
  """All that is asked of a mesh."""
  devices = np.array([types.SimpleNamespace(platform=platform)] * size)
  return types.SimpleNamespace(devices=devices, size=size)


def toy_of(config):
  """Its model in half precision."""
  return dataclasses.replace(build_model(config), dtype=jnp.bfloat16)


def test_every_policy_has_its_numbers():
  assert set(POLICIES) == set(REMAT)
  assert all(set(each) <= set(REMAT) for each in FASTEST.values())
  assert FASTEST.keys() == SHARE.keys()


def test_what_is_kept_is_counted_by_hand():
  """Of a tower three wide and two deep, four positions, which fill a tile of eight."""
  tower = dataclasses.replace(CLIP.size.text, width=3, layers=2)
  size = dataclasses.replace(
    CLIP.size, image=tower, text=tower, image_size=4, patch_size=2
  )
  model = Clip(size=size, dtype=jnp.bfloat16)
  found = kept_bytes(model, policy='products', images=5, captions=10, length=9)
  wide = 2 * KEPT['products'] + choices.PASSING
  assert found == int(2 * 3 * (5 * 8 + 10 * 16) * wide)
  # Named by the policies: q, k and v, the inside of the MLP, its output and
  # attention's, and the block's input. The rest is what else was found.
  for policy, named in (('products', 10), ('outputs', 3), ('block', 1)):
    assert named <= KEPT[policy] <= 1.25 * named


def test_each_policy_keeps_less_and_more_rows_keep_more():
  kept = [kept_bytes(CLIP, policy=policy, **PAIRS) for policy in POLICIES]
  assert kept == sorted(kept, reverse=True)
  assert len(set(kept)) == len(kept)
  for policy in POLICIES:
    few = kept_bytes(CLIP, policy=policy, **PAIRS)
    for more in ({'images': 856}, {'captions': 856}, {'length': 81}):
      assert kept_bytes(CLIP, policy=policy, **PAIRS | more) > few
    in_f32 = dataclasses.replace(CLIP, dtype=jnp.float32)
    assert kept_bytes(in_f32, policy=policy, **PAIRS) == 2 * few
  padded = [
    kept_bytes(CLIP, policy='block', **PAIRS | {'length': n}) for n in (73, 77, 80)
  ]
  assert len(set(padded)) == 1


@pytest.mark.parametrize('platform', FASTEST)
def test_the_fastest_policy_is_chosen_that_fits(platform):
  *faster, smallest = FASTEST[platform]
  for policy in faster:
    kept = kept_bytes(CLIP, policy=policy, **PAIRS)
    for share, expected in ((1.01, policy), (0.99, None)):
      memory = int(share * kept / SHARE[platform])
      target = Target(kind=platform, platform=platform, memory=memory)
      found = choose_remat(CLIP, target=target, **PAIRS)
      after = FASTEST[platform][FASTEST[platform].index(policy) + 1]
      assert found == (expected or after)
  tiny = Target(kind=platform, platform=platform, memory=1)
  assert choose_remat(CLIP, target=tiny, **PAIRS) == smallest


def test_a_platform_that_nobody_named_is_taken_for_a_gpu():
  target = Target(kind='other', platform='other')
  assert choose_remat(CLIP, target=target, **PAIRS) == FASTEST['cuda'][0]


def test_unknown_memory_is_enough_and_a_cpu_has_that_of_its_host(monkeypatch):
  for platform in ('tpu', 'cuda'):
    target = Target(kind=platform, platform=platform)
    assert choose_remat(CLIP, target=target, **PAIRS) == FASTEST[platform][0]
  cpu = Target(kind='cpu', platform='cpu')
  for memory, expected in ((None, 'products'), (2**50, 'products'), (2**20, 'block')):
    monkeypatch.setattr(choices, '_host_memory', lambda memory=memory: memory)
    assert choose_remat(CLIP, target=cpu, **PAIRS) == expected


def test_the_memory_of_a_host_is_read_or_not_known(monkeypatch):
  found = choices._host_memory()
  assert found is None or 2**28 < found < 2**50
  monkeypatch.delattr(choices.os, 'sysconf_names', raising=False)
  assert choices._host_memory() is None


@pytest.mark.parametrize(
  ('kind', 'pairs', 'length', 'expected'),
  [
    ('v5e', 107, 77, 'outputs'),
    ('v5e', 428, 77, 'outputs'),
    ('v5e', 4096, 77, 'block'),
    ('h200', 428, 77, 'products'),
    ('h100', 2048, 32, 'outputs'),
    ('h100', 4096, 32, 'block'),
  ],
)
def test_the_choice_at_the_published_size(kind, pairs, length, expected):
  target = named_target(kind)
  rows = {'images': pairs, 'captions': pairs, 'length': length}
  assert choose_remat(CLIP, target=target, **rows) == expected


@pytest.mark.parametrize(
  ('fields', 'rows'),
  [
    ({}, (8, 8, 8)),
    ({'train.microbatch': 16}, (2, 2, 8)),
    ({'train.microbatch': 128}, (8, 8, 8)),  # more than there are
    ({'data.captions_per_image': 3}, (8, 24, 8)),
    ({'data.captions_per_image': 3, 'train.microbatch': 16}, (2, 6, 8)),
    ({'data.context_length': 5}, (8, 8, 5)),
  ],
)
def test_the_rows_are_those_that_a_device_encodes_at_a_time(
  small_config, monkeypatch, fields, rows
):
  asked = []

  def note(model, *, images, captions, length, target):
    asked.append((images, captions, length))
    return 'outputs'

  monkeypatch.setattr(choices, 'choose_remat', note)
  config = small_config({'train.batch_size': 64} | fields)
  target = named_target('v5e')
  model = fit_to_devices(config, toy_of(config), mesh=mesh_of('tpu'), target=target)
  assert asked == [rows]
  assert model.remat == 'outputs'


NAMED = {'model.remat': 'none', 'model.layers': 'scan', 'model.attention': 'xla'}


@pytest.mark.parametrize('platform', FASTEST)
def test_what_a_config_names_stays(small_config, platform):
  config = small_config(NAMED)
  target = Target(kind=platform, platform=platform, memory=1)
  model = toy_of(config)
  assert fit_to_devices(config, model, mesh=mesh_of(platform), target=target) == model
  others = small_config(NAMED | {'model.remat': 'products', 'model.layers': 'unroll'})
  model = fit_to_devices(others, toy_of(others), mesh=mesh_of(platform), target=target)
  assert (model.remat, model.layers) == ('products', 'unroll')


@pytest.mark.parametrize(
  ('attention', 'platform', 'dtype', 'before', 'after'),
  [
    ('auto', 'tpu', jnp.bfloat16, 'xla', 'pallas'),
    ('auto', 'tpu', jnp.float32, 'xla', 'xla'),
    ('pallas', 'tpu', jnp.bfloat16, 'xla', 'pallas'),
    ('pallas', 'cpu', jnp.bfloat16, 'xla', 'xla'),
    ('xla', 'tpu', jnp.bfloat16, 'xla', 'xla'),
    ('auto', 'gpu', jnp.bfloat16, 'cudnn', 'cudnn'),
    ('auto', 'cpu', jnp.float32, 'xla', 'plain'),
  ],
)
def test_the_kernel_of_tpus_is_theirs_in_half_precision(
  small_config, attention, platform, dtype, before, after
):
  config, mesh = small_config({'model.attention': attention}), mesh_of(platform)
  model = dataclasses.replace(build_model(config), dtype=dtype, kernel=before)
  target = named_target('v5e')
  found = fit_to_devices(config, model, mesh=mesh, target=target)
  assert found.kernel == after
  assert found.mesh is (mesh if after == 'pallas' else None)


def test_where_cpus_stand_in_the_program_is_for_cpus(small_config):
  config = small_config()
  mesh, target = make_mesh(), named_target('v5e')
  found = fit_to_devices(config, toy_of(config), mesh=mesh, target=target)
  assert (found.kernel, found.mesh) == ('plain', None)
  assert found.remat == 'outputs'


def test_shallow_towers_are_unrolled_on_cpus(small_config):
  assert choose_layers(CLIP, platform='cpu') == 'scan'
  config = small_config()
  model = build_model(config)
  assert model.layers == 'scan'
  target = Target(kind='cpu', platform='cpu', memory=16 * GIB)
  found = fit_to_devices(config, model, mesh=make_mesh(), target=target)
  assert (found.layers, found.remat) == ('unroll', 'products')
  for platform in ('tpu', 'cuda', 'gpu', 'rocm'):
    assert choose_layers(model, platform=platform) == 'scan'
