"""Kinds of devices: what users type, and what a device says of itself."""

import types

import jax
import pytest

from harma_jax.devices.targets import (
  CARDS,
  KINDS,
  TPUS,
  Target,
  named_target,
  read_topology,
  this_target,
)
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('text', 'platform', 'count'),
  [
    ('32', 'cpu', 32),
    ('cpu:8', 'cpu', 8),
    ('tpu:32', 'tpu', 32),
    ('cuda:8', 'cuda', 8),
  ],
)
def test_a_platform_alone_asks_for_the_program_of_cpus(text, platform, count):
  topology = read_topology(text)
  assert (topology.target.platform, topology.count) == (platform, count)
  assert topology.wants is None
  assert topology.target.memory is topology.target.peak is None


@pytest.mark.parametrize(
  ('text', 'kind', 'count', 'wants'),
  [
    ('v5e:2x4', 'v5e', 8, {'topology_name': 'v5e:2x4'}),
    ('v5e:1x1', 'v5e', 1, {'chips_per_host_bounds': (1, 1, 1)}),
    ('v6e:16x16', 'v6e', 256, {'topology_name': 'v6e:16x16'}),
    ('v5p:4x4x4', 'v5p', 64, {'topology_name': 'v5p:4x4x4'}),
    ('v5e:4x4*2', 'v5e', 32, {'topology_name': 'v5e:4x4', 'num_slices': 2}),
    ('v4:2x2x1', 'v4', 4, {'chip_config_name': 'megacore'}),
    ('tpu7x:2x2x1', 'tpu7x', 8, {'topology_name': 'tpu7x:2x2x1'}),  # two a chip
    ('h100:8', 'h100', 8, {'topology': '1x1x8'}),
    ('h100:2x8', 'h100', 16, {'topology': '1x2x8'}),
    ('a100-40:1', 'a100-40', 1, {'topology': '1x1x1'}),
  ],
)
def test_a_kind_and_its_shape_are_read(text, kind, count, wants):
  topology = read_topology(text)
  assert (topology.target, topology.count) == (named_target(kind), count)
  assert wants.items() <= topology.wants.items()
  assert topology.wants['platform'] == topology.target.platform


@pytest.mark.parametrize(
  'text', ['', '0', '-1', 'tpu', 'gpu:8', '8:tpu', '4.0', 'h100:8*2', 'cpu:2x2']
)
def test_another_topology_is_the_users_mistake(text):
  with pytest.raises(UserError) as error:
    read_topology(text)
  assert 'as in 32 or tpu:32, or a kind' in str(error.value)
  assert f'found {text!r}' in str(error.value)


def test_a_mistake_names_the_kinds_and_the_nearest():
  with pytest.raises(UserError) as error:
    read_topology('v5:2x4', flag='--targets')
  message = str(error.value)
  assert message.startswith('--targets: expected')
  assert all(kind in message for kind in KINDS)
  assert "found 'v5:2x4'. Did you mean v5" in message


def test_a_topology_of_other_axes_is_told_how_many():
  with pytest.raises(UserError, match=r'3 axes of a v5p topology, as in v5p:2x4x4; fo'):
    read_topology('v5p:4x4')
  with pytest.raises(
    UserError, match=r'2 axes of a v5e topology, as in v5e:4x4; found'
  ):
    read_topology('v5e:2x2x1')


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_known_in_full_and_found_by_its_own_name(kind):
  target = named_target(kind)
  assert 10 * 2**30 < target.memory < 200 * 2**30
  assert 50e12 < target.peak < 3000e12
  assert 200e9 < target.bandwidth < 10_000e9
  assert (target.clock is None) == (target.platform == 'cuda')
  names = TPUS[kind].names if kind in TPUS else (CARDS[kind].name,)
  for name in names:
    assert this_target([device(name, target.platform)]) == target


def device(kind, platform, **stats):
  jax_name = 'gpu' if platform == 'cuda' else platform
  return types.SimpleNamespace(
    device_kind=kind, platform=jax_name, memory_stats=lambda: stats
  )


def test_a_device_tells_its_memory_itself():
  there = this_target([device('TPU v5 lite', 'tpu', bytes_limit=7)])
  assert (there.kind, there.memory, there.peak) == ('v5e', 7, 197e12)


def test_of_an_unknown_device_only_what_it_says_is_known():
  found = this_target([device('NVIDIA X1', 'cuda', bytes_limit=7)])
  assert found == Target(kind='NVIDIA X1', platform='cuda', memory=7)


def test_a_device_that_is_only_compiled_for_has_the_memory_of_its_kind():
  def memory_stats():
    raise jax.errors.JaxRuntimeError('UNIMPLEMENTED')

  found = device('TPU v4', 'tpu')
  found.memory_stats = memory_stats
  assert this_target([found]) == named_target('v4')


def test_the_host_is_no_target_with_memory_of_its_own():
  assert this_target() == Target(kind='cpu', platform='cpu')


def test_jax_takes_a_share_of_a_card_that_the_environment_may_change(monkeypatch):
  whole = CARDS['h100'].gib * 2**30
  assert named_target('h100').memory == int(0.75 * whole)
  monkeypatch.setenv('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.9')
  assert named_target('h100').memory == int(0.9 * whole)
