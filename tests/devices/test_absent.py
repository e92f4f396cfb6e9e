"""Which compiler a topology has, and the devices that stand for its own."""

import os

import jax
import pytest
from jax.experimental import topologies

from harma_jax.devices import absent
from harma_jax.devices.absent import compiler_of, devices_of, prepare
from harma_jax.devices.targets import read_topology
from harma_jax.errors import UserError


@pytest.fixture
def installed(monkeypatch):
  """`installed(*packages)`: these and no others are."""

  def make(*packages):
    monkeypatch.setattr(absent, '_is_installed', lambda package: package in packages)
    monkeypatch.setattr(absent.importlib.metadata, 'version', lambda name: '1.2')

  return make


def test_a_topology_has_the_compiler_of_its_platform(installed):
  installed('libtpu')
  assert compiler_of(read_topology('v5e:2x4')) == 'libtpu 1.2'
  assert compiler_of(read_topology('h100:8')) is None
  assert compiler_of(read_topology('tpu:8')) is None  # asks for the program of CPUs
  installed('jax_plugins.xla_cuda12')
  assert compiler_of(read_topology('h100:8')) == 'jax-cuda12-plugin 1.2'


def test_a_package_of_a_folder_that_is_not_there_is_not_installed():
  assert not absent._is_installed('no_such_folder.package')
  assert absent._is_installed('jax.numpy')


def test_so_many_cpus_stand_in_as_the_programs_without_a_compiler_need(
  installed, monkeypatch
):
  installed('libtpu')
  shown = []
  monkeypatch.setattr(absent, 'pretend_devices', shown.append)
  monkeypatch.setattr(os, 'environ', {})
  monkeypatch.setattr(jax.config, 'update', lambda name, value: None)
  texts = 'v5p:4x4x4', 'h100:8', 'cpu:4'
  prepare([read_topology(text) for text in texts])
  prepare([read_topology('v5p:4x4x4')])
  assert shown == [8, 1]
  assert os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] == '1'


def test_cpus_stand_in_where_no_compiler_is(installed):
  installed()
  assert devices_of(read_topology('v5e:2x2')) == jax.devices()[:4]


def test_a_topology_that_the_compiler_does_not_know_is_one_message(
  installed, monkeypatch
):
  def refuse(**wants):
    assert wants == {'platform': 'tpu', 'topology_name': 'v5e:3x3'}
    raise jax.errors.JaxRuntimeError('INVALID_ARGUMENT: 3x3 is odd\nsecond line')

  installed('libtpu')
  monkeypatch.setattr(topologies, 'get_topology_desc', refuse)
  with pytest.raises(UserError, match=r"knows; found 'v5e:3x3': INVALID_.* is odd\."):
    devices_of(read_topology('v5e:3x3'))
