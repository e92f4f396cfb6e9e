"""Devices that are not there, for the compilers of those who have them."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from harma_jax.devices.targets import Topology
from harma_jax.errors import UserError

# The compiler of TPUs looks for the machine that it runs on, which is none of theirs,
# and lets one process in at a time unless told otherwise.
ENVIRONMENT = {
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_WORKER_ID': '0',
  'TPU_ACCELERATOR_TYPE': 'v5litepod-8',  # any that there is: topologies do not ask it
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_STDERR_LOG_LEVEL': '3',
  'TPU_MIN_LOG_LEVEL': '3',
  'TF_CPP_MIN_LOG_LEVEL': '3',
}
PACKAGES = {
  'tpu': ('libtpu',),
  'cuda': ('jax_plugins.xla_cuda13', 'jax_plugins.xla_cuda12'),
}
DISTRIBUTIONS = {
  'libtpu': 'libtpu',
  'jax_plugins.xla_cuda13': 'jax-cuda13-plugin',
  'jax_plugins.xla_cuda12': 'jax-cuda12-plugin',
}


def pretend_devices(number: int) -> None:
  """Makes jax show so many CPU devices; to be called before it touches any."""
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', number)


def prepare(wanted: Sequence[Topology]) -> None:
  """Readies jax to compile for these, on a host of any kind; before it touches devices.

  It shows as many CPU devices as the programs need that no other compiler is there for.
  """
  os.environ.update(ENVIRONMENT)
  fall_back = (each.count for each in wanted if compiler_of(each) is None)
  pretend_devices(max(fall_back, default=1))
  # A program for devices that are not there cannot be read back.
  jax.config.update('jax_enable_compilation_cache', False)


def compiler_of(topology: Topology) -> str | None:
  """The name and version of the compiler for a topology; None where none is installed.

  None too where only the program for CPUs is asked for.
  """
  if topology.wants is None:
    return None
  for package in PACKAGES[topology.target.platform]:
    if _is_installed(package):
      name = DISTRIBUTIONS[package]
      return f'{name} {importlib.metadata.version(name)}'
  return None


def _is_installed(package: str) -> bool:
  try:
    return importlib.util.find_spec(package) is not None
  except ModuleNotFoundError:  # not even the folder of all plugins
    return False


def devices_of(topology: Topology) -> list[jax.Device]:
  """The devices of a topology: that are only compiled for, or as many CPUs.

  Raises:
    UserError: the compiler knows no such topology.
  """
  if compiler_of(topology) is None:
    return jax.devices()[: topology.count]
  try:
    return list(topologies.get_topology_desc(**topology.wants).devices)
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f'Expected a topology that the compiler knows; found {topology.text!r}: {reason}.'
    ) from error
