"""Memory that a program on CPUs keeps for the next step."""

import ctypes
import importlib.util
import os
import sys

# Of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
PLUGINS = ('libtpu', 'jax_cuda12_plugin', 'jax_cuda13_plugin', 'jax_rocm7_plugin')
SETTINGS = ('GLIBC_TUNABLES', 'MALLOC_ARENA_MAX', 'MALLOC_MMAP_MAX_')


def keep_host_memory() -> bool:
  """Lets this process keep the memory that it frees, where it computes on CPUs.

  Else glibc gives the arrays of a step back to the system after each, which hands them
  out again page by page, all zeros: an eighth of a step of ViT-B/32. What is freed
  stays in one arena, from which other arrays are taken. To be called before jax starts
  its devices, whose threads would take arenas of their own.

  Returns:
    Whether it does: not with other libraries than glibc, nor where there is an
    accelerator for jax, nor where the environment has settings of its own.
  """
  on_cpu = os.environ.get('JAX_PLATFORMS') == 'cpu' or not any(
    importlib.util.find_spec(plugin) for plugin in PLUGINS
  )
  if sys.platform != 'linux' or not on_cpu or any(map(os.environ.get, SETTINGS)):
    return False
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return False
  settings = {ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: -1}
  taken = [mallopt(name, value) for name, value in settings.items()]
  return all(taken)
