"""A compiled program of a TPU in few lines, as its compiler writes them."""

import pytest

from harma_jax.devices import absent
from harma_jax.devices.compilation import Memory
from harma_jax.devices.targets import read_topology
from harma_jax.rehearsal.hlo import read_program
from harma_jax.rehearsal.record import record_of
from harma_jax.rehearsal.stage import read_stage
from harma_jax.rehearsal.step import Compiled

TEXT = """\
HloModule jit_step, is_scheduled=true

%fused.1 (param_0: f32[4,8]) -> f32[16,8] {
  %param_0 = f32[4,8]{1,0:T(8,128)} parameter(0)
  ROOT %all-gather.2 = f32[16,8]{1,0:T(8,128)} all-gather(%param_0), channel_id=7
}

%body (arg: (s32[], f32[3,4,8])) -> (s32[], f32[3,4,8]) {
  %arg = (s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%arg), index=0
  %x = f32[3,4,8]{2,1,0:T(8,128)} get-tuple-element(%arg), index=1
  %up = f32[4,32]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/jvp(ImageTower)/while/body/blocks/mlp/up/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"1000"}}
  %write = f32[3,4,8]{2,1,0:T(8,128)} fusion(%x, %up), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/jvp(ImageTower)/while/body/dynamic_update_slice"}, \
backend_config={"window_config":{"estimated_cycles":"200"}}
  %gather.1 = f32[16,8]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%fused.1
  ROOT %next = (s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)}) tuple(%i, %write)
}

%condition (arg.1: (s32[], f32[3,4,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(3)
  %arg.1 = (s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

%called (y: f32[4,8]) -> f32[4,8] {
  %y = f32[4,8]{1,0:T(8,128)} parameter(0)
  ROOT %z = f32[4,8]{1,0:T(8,128)} fusion(%y), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/augment/vmap()/gather"}, \
backend_config={"window_config":{"estimated_cycles":"30"}}
}

ENTRY %main (batch: f32[4,8], weights: f32[8]) -> f32[8] {
  %batch = f32[4,8]{1,0:T(8,128)} parameter(0), metadata={op_name="batch['images']"}
  %weights = f32[8]{0:T(128)} parameter(1), metadata={op_name="state.trainable"}
  %cut = f32[4,8]{1,0:T(8,128)} call(%batch), to_apply=%called
  %zero = s32[]{:T(128)} constant(0)
  %empty = f32[3,4,8]{2,1,0:T(8,128)} broadcast(%zero), dimensions={}
  %start = (s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)}) tuple(%zero, %empty)
  %gather.0 = f32[16,8]{1,0:T(8,128)} fusion(%cut), kind=kLoop, calls=%fused.1
  %loop = (s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)}) while(%start), \
condition=%condition, body=%body, metadata={op_name="jit(step)/jvp(ImageTower)/while"}
  %kept = f32[3,4,8]{2,1,0:T(8,128)} get-tuple-element(%loop), index=1
  %near = f32[4,8]{1,0:T(8,128)S(1)} fusion(%cut), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/jvp(TextTower)/blocks/mul"}
  %away = (f32[4,8]{1,0:T(8,128)}, f32[4,8]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) \
copy-start(%near)
  %far = f32[4,8]{1,0:T(8,128)} copy-done(%away)
  %attend = bf16[4,8]{1,0:T(8,128)(2,1)} custom-call(%kept), \
custom_call_target="tpu_custom_call", \
metadata={op_name="jit(step)/jvp(ImageTower)/attention/pallas_call"}, \
backend_config={"custom_call_config":{"body":"b","cost_estimate":{"flops":"1970000000",\
"transcendentals":"0","bytes_accessed":"8190"}}}
  %untold = bf16[4,8]{1,0:T(8,128)(2,1)} custom-call(%attend), \
custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"b"}}
  %loss = f32[]{:T(128)} all-reduce(%untold), channel_id=9, to_apply=%add, \
metadata={op_name="jit(step)/jvp()/reduce_sum"}
  %back = f32[8]{0:T(128)} fusion(%kept, %far, %loss), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/transpose(jvp(ImageTower))/blocks/mlp/down/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"5000"}}
  %scatter = (f32[4,8]{1,0}, f32[1,8]{1,0}) reduce-scatter-start(%far), channel_id=7
  ROOT %new = f32[8]{0:T(128)} fusion(%back, %weights), kind=kLoop, calls=%fused.0, \
metadata={op_name="jit(step)/mul"}, \
backend_config={"window_config":{"estimated_cycles":"7"}}
}
"""


@pytest.fixture(scope='session')
def program():
  """Three rounds of a loop, a call, two kernels, three collectives."""
  return read_program(TEXT)


@pytest.fixture(scope='session')
def compiled():
  """`compiled(temporaries=, peak=, refusal=)`: what a compiler made of the step."""

  def make(*, temporaries=2**30, peak=None, refusal=None):
    memory = Memory(
      arguments=2**20,
      outputs=2**10,
      temporaries=temporaries,
      aliased=2**10,
      peak=peak,
    )
    return Compiled(
      memory=None if refusal else memory,
      refusal=refusal,
      text='' if refusal else TEXT,
      held={'weights': 2**19, 'optimizer': 2**10, 'images': 2**15},
      lowering_seconds=1.04,
      compile_seconds=20.0,
    )

  return make


@pytest.fixture(scope='session')
def record(compiled):
  """`record(topology='v5e:2x2', compiler='libtpu 1', **of_compiled)`, of 428 pairs."""

  def make(*, topology='v5e:2x2', compiler='libtpu 1', **settings):
    found = record_of(
      compiled(**settings),
      topology=read_topology(topology),
      compiler=compiler,
      pairs=428,
      flop_per_pair=32e9,
    )
    setting = {'target': topology, 'compiler': compiler, 'size': 'toy', 'pairs': 428}
    return setting | {'tokens': 77, 'remat': 'none'} | found

  return make


@pytest.fixture
def stage(small_config):
  """`stage(changes)`: of eight CPU devices in place of TPUs."""

  def make(changes=None):
    config = small_config({'data.root': ''} | (changes or {}))
    return read_stage(config, read_topology('tpu:8'))

  return make


@pytest.fixture
def no_compilers(monkeypatch):
  monkeypatch.setattr(absent, '_is_installed', lambda package: False)
