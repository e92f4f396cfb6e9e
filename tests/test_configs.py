"""Every config file and argument, and that each field of theirs is read."""

import functools
import inspect
import json
import operator
import pathlib
import re

import jax
import pytest
from ml_collections import ConfigDict

from harma_jax import building
from harma_jax.building.abstract import TrainSizes, abstract_inputs, for_platform
from harma_jax.building.config_file import load_config
from harma_jax.building.data import build_inputs
from harma_jax.building.model import build_model
from harma_jax.building.objective import build_objective
from harma_jax.building.recipe import build_recipe
from harma_jax.building.stages import stages
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.building.text import context_length
from harma_jax.configs.backbones import BACKBONES, set_backbone
from harma_jax.configs.common import get_config as common
from harma_jax.configs.methods import METHODS, set_method
from harma_jax.devices.mesh import make_mesh
from harma_jax.errors import UserError
from harma_jax.model.adaptformer import AdaptFormerSettings
from harma_jax.model.clip_adapter import ClipAdapterSettings
from harma_jax.model.hub_sizes import HUB_SIZES
from harma_jax.model.lora import LoraSettings
from harma_jax.objective.alignment import make_objective
from harma_jax.rehearsal.step import trace_step
from harma_jax.rundir.workdir import PRETRAIN
from harma_jax.stepping.optim import count

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / 'configs'
FILES = sorted(p.name for p in CONFIGS.glob('*.py') if 'get_config(' in p.read_text())
PATHS = [
  *FILES,
  *(f'{file}:{name}' for file in ('rsitmd.py', 'rsicd.py') for name in BACKBONES),
  *('skyscript.py:tiny', 'rs5m.py:tiny'),
  *(f'methods.py:{name}' for name in METHODS),
]


# Of the configs' weights, the sizes that are read off them.
READ = {'lcybuaa/Git-RSCLIP-base': 'ViT-B-16-SigLIP-256'}


def load(path):
  return load_config(f'{CONFIGS}/{path}')


def resolved(path):
  """The config with the size that its weights have, without the weights."""
  config = load(path)
  if config.model.size == 'auto':
    config.model.size = {**HUB_SIZES, **READ, '': 'ViT-B-32'}[config.init]
  return config


def leaves_of(config, prefix=''):
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from leaves_of(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}'


def test_harmas_own_configs_clean_as_its_code_does():
  cleanings = {path: load(path).data.cleaning for path in PATHS}
  released = {path for path in PATHS if path.startswith(('rsicd', 'rsitmd', 'methods'))}
  assert {path for path in PATHS if cleanings[path] == 'released'} == released
  assert set(cleanings.values()) == {'released', 'sound'}


def test_the_files_that_users_are_told_of_are_there():
  files = {'common.py', 'rsitmd.py', 'rsicd.py', 'quickstart.py', 'methods.py'}
  assert files | {'skyscript.py', 'rs5m.py'} <= set(FILES)


@pytest.mark.parametrize('file', ['skyscript.py', 'rs5m.py'])
def test_sets_of_millions_are_streamed_by_any_number_of_hosts(file):
  config = load(file)
  assert config.data.cache == 'stream'
  assert config.checkpoint.every_steps > 0
  for hosts in (1, 2, 4, 8, 16, 32):
    assert config.train.batch_size % (hosts * 8) == 0
  assert load(f'{file}:tiny').train.batch_size == 256


@pytest.mark.parametrize('path', PATHS)
def test_each_stage_of_a_config_builds(path, tmp_path):
  config = resolved(path)
  for stage in stages(config, workdir=tmp_path).values():
    model = build_model(stage)
    build_objective(stage)
    build_inputs(stage, side=model.size.image_size, mesh=make_mesh())
    context_length(stage, model)
    optimizer, schedule = build_optimizer(stage, total_steps=100)
    shapes = state_shapes(stage, model, optimizer)
    assert count(shapes.trainable) > 0
    assert float(schedule(50)) > 0


@pytest.mark.parametrize('path', PATHS)
def test_a_config_has_the_common_fields_and_pretraining_alone_besides(path):
  config = load(path)
  extra = set(leaves_of(config)) - set(leaves_of(common()))
  assert all(name.startswith(f'{PRETRAIN}.') for name in extra)
  assert set(leaves_of(common())) <= set(leaves_of(config))
  if PRETRAIN in config:
    assert set(leaves_of(config[PRETRAIN])) <= set(leaves_of(common()))


def test_the_released_settings():
  config = load('rsitmd.py')
  assert config.to_json() == load('rsitmd.py:clip').to_json()
  assert (config.optimizer.learning_rate, config.train.epochs) == (4e-4, 50.0)
  assert config.train.batch_size == 428
  assert load('rsicd.py').train.epochs == 10.0
  config = load('rsicd.py:georsclip')
  assert (config.optimizer.learning_rate, config.train.epochs) == (4e-6, 80.0)
  assert build_model(config).size.activation == 'quick_gelu'


@pytest.fixture(scope='module')
def lowered():
  """`lowered(stage, on_device, platform)`: the text of its step, made of shapes alone.

  Stages that differ only in how long they train, or from what, share one.
  """

  @functools.cache
  def trace(text, on_device):
    config = ConfigDict(json.loads(text))
    sizes = TrainSizes(
      images=1000,
      captions=5000,
      canvas=(256, 320),
      known=False,
      on_device=on_device,
    )
    recipe = build_recipe(config, build_model(config), devices=jax.devices()[:4])
    inputs = abstract_inputs(config, recipe.model, mesh=recipe.mesh, sizes=sizes)
    return trace_step(recipe, inputs, n_captions=5000)[1]

  @functools.cache
  def lower(text, on_device, platform):
    return trace(text, on_device).lower(lowering_platforms=(platform,)).as_text()

  def of_stage(stage, on_device, platform):
    stage = for_platform(stage, platform)
    stage.update({'train': {'epochs': 1.0}, 'init': ''})
    return lower(stage.to_json(), on_device, platform)

  return of_stage


PLACED = [(path, False) for path in PATHS] + [
  ('rsitmd.py', True),
  ('rsicd.py:tiny', True),
]


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
@pytest.mark.parametrize(('path', 'on_device'), PLACED)
def test_the_step_lowers_for_accelerators(lowered, path, on_device, platform, tmp_path):
  for stage in stages(resolved(path), workdir=tmp_path).values():
    text = lowered(stage, on_device, platform)
    assert 'mhlo.num_partitions = 4' in text
    assert re.search(r'stablehlo\.dot_general .*xbf16>', text)
    assert ('tensor<1000x256x320x3xui8>' in text) == on_device


def test_vit_b_32_trains_the_released_number_of_weights():
  config = resolved('rsitmd.py')
  optimizer, _ = build_optimizer(config, total_steps=100)
  shapes = state_shapes(config, build_model(config), optimizer)
  assert count(shapes.trainable) == 5_934_397
  assert count(shapes.trainable) + count(shapes.frozen) == 157_211_710


@pytest.mark.parametrize('file', ['rsitmd.py', 'rsicd.py'])
def test_an_unknown_backbone_is_the_users_mistake(file):
  with pytest.raises(
    UserError, match=r"one of clip, georsclip, .*tiny-siglip; found 'vit'"
  ):
    load(f'{file}:vit')


def test_a_backbone_is_set_in_place():
  config = common()
  assert set_backbone(config, 'tiny', clip_epochs=1.0) is config


def state_of(method, *, contrastive='auto'):
  """Shapes of the state in which a method trains ViT-B/32."""
  config = set_method(common(), method)
  config.model.size = 'ViT-B-32'
  config.objective.contrastive = contrastive
  optimizer, _ = build_optimizer(config, total_steps=100)
  return state_shapes(config, build_model(config), optimizer)


def documented_counts():
  """By method the formula of docs/methods.md, as it is evaluated, and its result."""
  text = (CONFIGS.parent / 'docs/methods.md').read_text()
  row = r'^\| `(\w+)` \| .* \| `([\d+*() ]+)` \| ([\d,]+) \|$'
  return {
    name: (eval(formula), int(number.replace(',', '')))
    for name, formula, number in re.findall(row, text, re.MULTILINE)
  }


def test_every_method_is_documented():
  assert documented_counts().keys() == METHODS.keys()


@pytest.mark.parametrize('method', METHODS)
def test_what_trains_is_counted_by_the_documented_formula(method):
  state = state_of(method)
  # The scalars of the loss have a place in the state; zero-shot takes no step.
  trained = 0 if method == 'zero_shot' else count(state.trainable)
  assert documented_counts()[method] == (trained, trained)


def test_a_sigmoid_loss_trains_one_weight_more():
  softmax, sigmoid = (
    count(state_of('linear_probe', contrastive=name).trainable)
    for name in ('softmax', 'sigmoid')
  )
  assert sigmoid == softmax + 1


@pytest.mark.parametrize('method', METHODS)
def test_the_optimizer_keeps_nothing_of_frozen_weights(method):
  state = state_of(method)
  moments = [leaf for leaf in jax.tree.leaves(state.optimizer_state) if leaf.ndim]
  scalars = [leaf for leaf in jax.tree.leaves(state.trainable) if not leaf.ndim]
  assert count(moments) == 2 * (count(state.trainable) - len(scalars))
  assert count(state.params) == count(state.trainable) + count(state.frozen)


def test_a_method_goes_onto_any_config():
  config = load('methods.py:lora:rsitmd:georsclip')
  expected = load('rsitmd.py:georsclip')
  expected.model.adapters = 'lora'
  assert config.to_dict() == expected.to_dict()
  assert load('methods.py:full:quickstart').data.scenes.style == 'winter'


@pytest.mark.parametrize(
  ('argument', 'words'),
  [
    ('prefix', r"one of zero_shot, .*; found 'prefix'"),
    ('lora:no_such_data', r'no_such_data\.py: expected a file'),
    ('lora:rsitmd:small', r"one of clip, georsclip, .*; found 'small'"),
  ],
)
def test_an_unknown_method_or_config_is_the_users_mistake(argument, words):
  with pytest.raises(UserError, match=words):
    load(f'methods.py:{argument}')


def test_no_field_is_dead():
  files = pathlib.Path(building.__file__).parent.glob('*.py')
  source = ''.join(file.read_text() for file in files)
  reads = set(re.findall(r'\b(?:config|scenes|settings)\.((?:\w+\.)*\w+)', source))
  whole = {
    'objective': make_objective,
    'model.lora': LoraSettings,
    'model.adaptformer': AdaptFormerSettings,
    'model.clip_adapter': ClipAdapterSettings,
  }
  for section, taken_by in whole.items():
    fields = operator.attrgetter(section)(common())
    assert set(fields) == set(inspect.signature(taken_by).parameters)
  for path in leaves_of(common()):
    section, _, name = path.rpartition('.')
    spelled = {path, name, f'{section}.{name}'}
    assert spelled & reads or section in whole, f'{path} is read nowhere'
