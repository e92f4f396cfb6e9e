"""The weights that a run starts from: drawn, read, or those of another run."""

import contextlib
import dataclasses
import json
import math
import pathlib
import shutil

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy

from harma_jax.building import params as params_module
from harma_jax.building.config_file import load_config
from harma_jax.building.model import build_model
from harma_jax.building.params import (
  build_params,
  check_init,
  read_start,
  read_workdir,
  resolve,
  resolve_size,
)
from harma_jax.errors import UserError
from harma_jax.model.clip import init_params
from harma_jax.model.hub_sizes import HUB_INTERPOLATION, HUB_SIZES
from harma_jax.model.preprocessing import OPENAI
from harma_jax.model.sizes import SIZES
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.workdir import claim, read_provenance
from harma_jax.stepping.step import init_state
from harma_jax.training.loop import train
from harma_jax.weights.names import give, names_of, paths_of
from harma_jax.weights.sources import open_source

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / 'weights/golden'


def all_equal(tree, other):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, tree, other)))


def with_adapters(small_config, **changes):
  fields = {'model.adapters': 'harma', 'optimizer.train': 'adapters'}
  return small_config(fields | changes)


def test_random_weights_depend_on_the_seed_alone(small_config):
  def kernel(seed):
    config = small_config({'seed': seed})
    params, record = build_params(config, build_model(config), init='')
    assert record == {'init': '', 'seed': seed}
    return params['image']['projection']

  assert np.array_equal(kernel(3), kernel(3))
  assert not np.array_equal(kernel(3), kernel(4))


def test_freezing_random_weights_is_warned_of(small_config, caplog):
  for config in (small_config(), small_config({'optimizer.train': 'full'})):
    caplog.clear()
    build_params(config, build_model(config), init='')
    frozen = config.optimizer.train != 'full'
    assert ('the frozen weights are random' in caplog.text) == frozen


def test_weights_of_another_run_come_with_fresh_adapters(
  small_config, finished_run, caplog
):
  config = with_adapters(small_config)
  params, record = build_params(config, build_model(config), init=str(finished_run))
  assert record == {'init': str(finished_run), 'run': read_provenance(finished_run)}
  given = read_workdir(finished_run)
  assert np.array_equal(params['text']['projection'], given['text']['projection'])
  assert 'shared_adapter' in params
  assert 'shared_adapter' not in given
  assert not caplog.records
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(given))


def test_a_run_whose_captions_were_cleaned_in_another_way_is_warned_of(
  small_config, finished_run, caplog
):
  for cleaning in ('released', 'sound'):
    config = small_config({'data.cleaning': cleaning})
    build_params(config, build_model(config), init=str(finished_run))
    warned = f'{finished_run}: its captions were cleaned with data.cleaning=released'
    assert (warned in caplog.text) == (cleaning == 'sound')


def test_weights_of_another_size_are_refused(small_config, finished_run):
  config = small_config({'model.image_size': 32})
  with pytest.raises(UserError, match=r'of another shape: image/.*Set model\.\*'):
    build_params(config, build_model(config), init=str(finished_run))


@pytest.mark.parametrize(
  ('fields', 'found'),
  [
    ({'adapters': 'lora'}, r'missing: image/\S*lora_query/a/kernel.*unexpected: none'),
    ({'image_size': 32}, 'missing: none; unexpected: none; of another shape: image/'),
  ],
)
def test_saved_weights_of_another_model_are_refused(
  finished_run, tmp_path, fields, found
):
  mixed = shutil.copytree(finished_run, tmp_path / 'mixed')
  config = json.loads((mixed / 'config.json').read_text())
  config['model'] |= fields
  (mixed / 'config.json').write_text(json.dumps(config))
  with pytest.raises(UserError, match=found) as error:
    read_workdir(mixed)
  assert f'describes in {mixed};' in str(error.value)
  assert str(error.value).endswith('frozen/ of one run together again.')


def test_saved_weights_that_the_config_has_no_place_for_are_refused(
  small_config, finished_run, tmp_path
):
  config = with_adapters(small_config)
  trained = tmp_path / 'trained'
  shutil.copytree(finished_run, trained)
  params, _ = build_params(config, build_model(config), init=str(finished_run))
  shutil.rmtree(trained / 'checkpoints')
  shutil.rmtree(trained / 'frozen', ignore_errors=True)
  state = init_state(params, {}, optimizer=optax.sgd(0.1))
  with contextlib.closing(Checkpoints(trained)) as checkpoints:
    checkpoints.save(0, state, metrics={})
  with pytest.raises(UserError, match='missing: none; unexpected: image/'):
    read_workdir(trained)


def test_a_run_that_saved_nothing_gives_no_weights(small_config, tmp_path):
  config = small_config()
  claim(tmp_path, config, data={})
  with pytest.raises(UserError, match='saved steps; found none'):
    build_params(config, build_model(config), init=str(tmp_path))


def test_the_start_of_a_run_is_built_again(small_config, finished_run):
  config = small_config()
  expected, _ = build_params(config, build_model(config), init='')
  start, trained = read_start(finished_run), read_workdir(finished_run)
  assert all_equal(start, expected)
  assert not all_equal(start['image']['projection'], trained['image']['projection'])


def test_another_start_than_that_of_the_run_is_refused(finished_run, tmp_path):
  run = shutil.copytree(finished_run, tmp_path / 'run')
  config = json.loads((run / 'config.json').read_text()) | {'seed': 1}
  (run / 'config.json').write_text(json.dumps(config))
  with pytest.raises(UserError, match='those of its seed are others now'):
    read_start(run)


def test_a_start_that_is_nowhere_is_named(small_config):
  config = small_config()
  with pytest.raises(UserError, match=r"init: .*'/no/weights\.npz' is not there"):
    build_params(config, build_model(config), init='/no/weights.npz')


@pytest.fixture
def toy_clip(monkeypatch, small_config, tmp_path, random_params):
  """A folder of OpenCLIP's weights of the toy, which know that they are QuickGELU's."""
  size = dataclasses.replace(SIZES['toy'], activation='quick_gelu')
  monkeypatch.setitem(SIZES, 'toy-quickgelu', size)
  model = build_model(small_config({'model.size': 'toy-quickgelu'}))
  leaves = paths_of(random_params(model))
  del leaves['temperature']
  names = names_of(leaves, layout='open_clip', image_layers=2, text_layers=2)
  tensors = give(names, leaves, patch=8)
  folder = tmp_path / 'toy_clip'
  folder.mkdir()
  safetensors.numpy.save_file(
    {name: np.array(tensor, order='C') for name, tensor in tensors.items()},
    folder / 'open_clip_model.safetensors',
  )
  towers = {
    'vision_cfg': {'width': 16, 'head_width': 8},
    'text_cfg': {'width': 16, 'heads': 2},
  }
  config = {'model_cfg': {'quick_gelu': True, **towers}}
  (folder / 'open_clip_config.json').write_text(json.dumps(config))
  return folder


def auto(small_config, init='', **fields):
  return small_config({'model.size': 'auto', 'init': str(init), **fields})


def test_weights_tell_the_size(small_config, toy_clip, tmp_path):
  config = auto(small_config, toy_clip)
  resolved = resolve_size(config, workdir=tmp_path / 'new')
  assert (resolved.model.size, resolved.model.image_size) == ('toy-quickgelu', 0)
  assert config.model.size == 'auto'
  larger = auto(small_config, toy_clip, **{'model.image_size': 24})
  assert resolve_size(larger, workdir=tmp_path).model.image_size == 24
  assert resolve_size(resolved, workdir=tmp_path) is resolved


def test_weights_tell_what_images_undergo(small_config, toy_clip, tmp_path):
  path = toy_clip / 'open_clip_config.json'
  told = {'mean': [0.5] * 3, 'std': [0.25] * 3, 'interpolation': 'bilinear'}
  path.write_text(json.dumps(json.loads(path.read_text()) | {'preprocess_cfg': told}))
  resolved = resolve_size(auto(small_config, toy_clip), workdir=tmp_path / 'new')
  expected = {'mean': (0.5,) * 3, 'std': (0.25,) * 3, 'interpolation': 'bilinear'}
  assert {name: resolved.model[name] for name in expected} == expected
  assert dataclasses.asdict(build_model(resolved).size.preprocessing) == expected
  chosen = auto(small_config, toy_clip, **{'model.interpolation': 'bicubic'})
  chosen = resolve_size(chosen, workdir=tmp_path / 'new')
  assert chosen.model.interpolation == 'bicubic'


def test_what_the_size_does_anyway_is_not_recorded(small_config, toy_clip, tmp_path):
  """So that the config of a run that older versions started is the same."""
  path = toy_clip / 'open_clip_config.json'
  told = dataclasses.asdict(OPENAI)
  path.write_text(json.dumps(json.loads(path.read_text()) | {'preprocess_cfg': told}))
  resolved = resolve_size(auto(small_config, toy_clip), workdir=tmp_path / 'new')
  fields = resolved.model
  assert (fields.mean, fields.std, fields.interpolation) == ((), (), '')
  assert build_model(resolved).size.preprocessing == OPENAI


def test_weights_tell_an_unusual_image_size(
  small_config, toy_clip, tmp_path, monkeypatch
):
  size = dataclasses.replace(SIZES['toy-quickgelu'], image_size=32)
  monkeypatch.setitem(SIZES, 'toy-quickgelu', size)
  resolved = resolve_size(auto(small_config, toy_clip), workdir=tmp_path)
  assert build_model(resolved).size.image_size == 16


def test_a_run_tells_the_size(small_config, finished_run, tmp_path):
  config = auto(small_config, finished_run)
  assert resolve_size(config, workdir=tmp_path).model.size == 'toy'


def test_what_a_started_run_has_saved_decides(small_config, finished_run):
  """Its weights may be gone."""
  config = auto(small_config, '/no/weights.pt')
  assert resolve_size(config, workdir=finished_run).model.size == 'toy'


def test_a_run_that_saved_nothing_does_not_decide(small_config, toy_clip, tmp_path):
  claim(tmp_path, small_config(), data={})
  config = auto(small_config, toy_clip)
  assert resolve_size(config, workdir=tmp_path).model.size == 'toy-quickgelu'


def test_without_weights_a_size_must_be_given(small_config, tmp_path):
  with pytest.raises(
    UserError, match=r'model\.size: expected a size where init is emp'
  ):
    resolve_size(auto(small_config), workdir=tmp_path)


def test_weights_come_with_fresh_adapters_and_a_record(small_config, toy_clip, caplog):
  config = with_adapters(
    small_config, **{'init': str(toy_clip), 'model.size': 'toy-quickgelu'}
  )
  model = build_model(config)
  params, record = build_params(config, model, init=config.init)
  random = init_params(model, jax.random.key(config.seed))
  assert jax.tree.structure(params) == jax.tree.structure(random)
  jax.tree.map(
    np.testing.assert_array_equal, params['shared_adapter'], random['shared_adapter']
  )
  assert params['temperature'] == random['temperature']
  assert not np.array_equal(
    params['image']['projection'], random['image']['projection']
  )
  assert record['file'] == str(toy_clip / 'open_clip_model.safetensors')
  assert record['matched']['adapters'] == 'fresh'
  assert record['activation'] == 'quick_gelu'
  assert record['activation_known_from'] == str(toy_clip / 'open_clip_config.json')


def test_weights_of_another_activation_are_refused(small_config, toy_clip):
  config = small_config({'init': str(toy_clip)})
  with pytest.raises(UserError, match=r'expected activation=quick_gelu, as .*config'):
    build_params(config, build_model(config), init=config.init)


def test_weights_are_opened_before_anything_is_done(tmp_path, finished_run, toy_clip):
  check_init('')
  check_init(str(finished_run))
  check_init(str(toy_clip))
  (toy_clip / 'open_clip_model.safetensors').write_bytes(b'damaged')
  with pytest.raises(UserError, match=r'open_clip_model\.safetensors'):
    check_init(str(toy_clip))


def test_the_size_of_a_known_repository_needs_no_hub(tmp_path, monkeypatch):
  monkeypatch.setattr(params_module, 'open_source', lambda _: pytest.fail('opened'))
  config = resolve_size(load_config('rsitmd.py'), workdir=tmp_path)
  assert (config.model.size, config.model.image_size) == ('ViT-B-32', 0)
  assert (config.model.interpolation, config.model.tokenizer) == ('', '')
  assert set(HUB_SIZES.values()) <= set(SIZES)


def test_git_rsclips_side_is_read_off_its_weights(tmp_path, monkeypatch):
  golden = open_source(str(GOLDEN / 'siglip/huggingface'))
  opened = []
  monkeypatch.setattr(
    params_module, 'open_source', lambda init: opened.append(init) or golden
  )
  config = resolve_size(load_config('rsitmd.py:git-rsclip'), workdir=tmp_path)
  assert opened == ['lcybuaa/Git-RSCLIP-base']
  assert build_model(config).size.image_size == 19


def test_a_known_siglip_2_resizes_as_its_repository_says(tmp_path, monkeypatch):
  monkeypatch.setattr(params_module, 'open_source', lambda _: pytest.fail('opened'))
  assert set(HUB_INTERPOLATION) <= set(HUB_SIZES)
  config = resolve_size(load_config('rsitmd.py:siglip2'), workdir=tmp_path)
  model = build_model(config)
  assert config.model.size == 'ViT-SO400M-16-SigLIP2-256'
  assert model.size.preprocessing.interpolation == 'bilinear'
  config.model.interpolation = 'bicubic'
  config.model.size = 'auto'
  assert resolve_size(config, workdir=tmp_path).model.interpolation == 'bicubic'


SIGMOID = {'objective.contrastive': 'sigmoid'}


def scalars(params):
  return {
    name: float(params[name])
    for name in ('temperature', 'logit_bias')
    if name in params
  }


def starting(batch):
  """Scalars that no weights bring."""
  return pytest.approx({'temperature': 0.1, 'logit_bias': -math.log(batch - 1)})


@pytest.mark.parametrize('batch', [4, 12])
def test_a_sigmoid_loss_brings_its_own_scalars(small_config, finished_run, batch):
  for init in ('', str(finished_run)):
    config = small_config({**SIGMOID, 'train.batch_size': batch})
    params, _ = build_params(config, build_model(config), init=init)
    assert scalars(params) == starting(batch)


@pytest.mark.parametrize('batch', [4, 12])
def test_random_weights_with_a_bias_start_at_the_prior_of_their_batch(
  small_config, batch, monkeypatch
):
  monkeypatch.setitem(SIZES, 'toy', dataclasses.replace(SIZES['toy'], logit_bias=True))
  config = small_config({'train.batch_size': batch})
  params, _ = build_params(config, build_model(config), init='')
  assert scalars(params) == starting(batch)


def test_the_scalars_of_weights_stay(small_config, tmp_path):
  source = GOLDEN / 'siglip/huggingface'
  config = resolve_size(auto(small_config, source), workdir=tmp_path)
  params, _ = build_params(config, build_model(config), init=str(source))
  tensors = safetensors.numpy.load_file(source / 'model.safetensors')
  assert params['logit_bias'] == tensors['logit_bias'].item()
  assert params['temperature'] == pytest.approx(np.exp(-tensors['logit_scale'].item()))


@pytest.fixture(scope='module')
def sigmoid_run(small_config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('sigmoid') / 'run'
  train(small_config(SIGMOID), workdir=workdir)
  return workdir


def test_a_run_goes_on_from_the_scalars_of_a_run(small_config, sigmoid_run):
  trained = scalars(read_workdir(sigmoid_run))
  assert trained != starting(small_config().train.batch_size)
  config = with_adapters(small_config, **SIGMOID)
  params, _ = build_params(config, build_model(config), init=str(sigmoid_run))
  assert scalars(params) == trained


def test_a_softmax_loss_takes_no_bias_over(small_config, sigmoid_run):
  config = small_config({'objective.contrastive': 'softmax'})
  params, _ = build_params(config, build_model(config), init=str(sigmoid_run))
  assert 'logit_bias' not in params


def test_a_run_with_a_bias_starts_where_it_started(small_config, sigmoid_run):
  batch = small_config().train.batch_size
  assert scalars(read_start(sigmoid_run)) == starting(batch)


def test_the_weights_tell_the_contrastive_loss(
  small_config, finished_run, sigmoid_run, tmp_path, monkeypatch
):
  def found(init='', workdir=tmp_path, **fields):
    config = small_config({'init': str(init), **fields})
    return resolve(config, workdir=workdir).objective.contrastive

  assert found() == 'softmax'
  assert found(finished_run) == 'softmax'
  assert found(sigmoid_run) == 'sigmoid'
  assert found(sigmoid_run, **{'objective.contrastive': 'softmax'}) == 'softmax'
  # The weights of a started run may be gone.
  assert found('/no/weights.pt', workdir=sigmoid_run) == 'sigmoid'
  monkeypatch.setitem(SIZES, 'toy', dataclasses.replace(SIZES['toy'], logit_bias=True))
  assert found() == 'sigmoid'
