"""Compiles the step of a checkout for devices that are not there: a side of `compiled`.

  python compile_checkout.py CHECKOUT CASE.json OUT

CASE has `topology` (keywords of `get_topology_desc`), `platform` and `fields` of
`configs/rsitmd.py:clip`. Writes OUT.hlo and OUT.json: what the compiler plans of
memory, or why it refuses. Knows both layouts of the package, also that of 6b808a1.
"""

import importlib.util
import json
import os
import pathlib
import sys
import time

ENVIRONMENT = {
  'JAX_PLATFORMS': 'cpu',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_WORKER_ID': '0',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}


def read_config(checkout: pathlib.Path, fields: dict):
  """The config of the checkout's own file, with other values in some fields."""
  sys.path.insert(0, str(checkout / 'configs'))
  path = checkout / 'configs/rsitmd.py'
  spec = importlib.util.spec_from_file_location('rsitmd', path)
  spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
  config = module.get_config('clip')
  config.update_from_flattened_dict(fields)
  return config


def trace_flat(config, devices: list, platform: str):
  """The traced step of the layout of 6b808a1."""
  from harma_jax import mesh, topology

  config = topology.for_platform(config, platform)
  _, traced = topology.trace_step(
    config,
    mesh=mesh.make_mesh(devices=devices),
    sizes=topology.train_sizes(config),
    on_device=True,
  )
  return traced


def trace_rooms(config, devices: list, platform: str):
  """The traced step of today's layout."""
  from harma_jax.building.abstract import abstract_inputs, for_platform, train_sizes
  from harma_jax.building.model import build_model
  from harma_jax.building.recipe import build_recipe
  from harma_jax.rehearsal.step import trace_step

  config = for_platform(config, platform)
  sizes = train_sizes(config)
  recipe = build_recipe(config, build_model(config), devices=devices)
  length = config.data.context_length
  inputs = abstract_inputs(
    config, recipe.model, mesh=recipe.mesh, sizes=sizes, length=length
  )
  _, traced = trace_step(recipe, inputs, n_captions=sizes.captions)
  return traced


def main(checkout: str, case: str, out: str) -> None:
  """Compiles one case."""
  os.environ.update(ENVIRONMENT)
  checkout, case = pathlib.Path(checkout), json.loads(pathlib.Path(case).read_text())
  sys.path.insert(0, str(checkout))
  import jax
  from jax.experimental import topologies

  devices = topologies.get_topology_desc(**case['topology']).devices
  config = read_config(checkout, case['fields'])
  flat = (checkout / 'harma_jax/topology.py').is_file()
  trace = trace_flat if flat else trace_rooms
  start = time.monotonic()
  lowered = trace(config, list(devices), case['platform']).lower(
    lowering_platforms=(case['platform'],)
  )
  found = {'framework': f'jax {jax.__version__}', 'devices': len(devices)}
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found['refused'] = str(error).splitlines()[0][:300]
  else:
    memory = compiled.memory_analysis()
    found |= {
      'temporaries': memory.temp_size_in_bytes,
      'arguments': memory.argument_size_in_bytes,
      'outputs': memory.output_size_in_bytes,
      'aliased': memory.alias_size_in_bytes,
    }
    pathlib.Path(f'{out}.hlo').write_text(compiled.as_text())
  found['seconds'] = round(time.monotonic() - start, 1)
  pathlib.Path(f'{out}.json').write_text(json.dumps(found))


if __name__ == '__main__':
  main(*sys.argv[1:])
