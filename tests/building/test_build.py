"""From a config to objects: which field goes where, and weights from other runs."""

import dataclasses
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from harma_jax.building import data as build_data
from harma_jax.building import model as building_model
from harma_jax.building.check import check_config
from harma_jax.building.data import build_inputs, build_pixels, build_table
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model, with_fastest_attention
from harma_jax.building.params import (
  build_params,
  check_init,
  read_start,
  read_workdir,
  resolve_size,
)
from harma_jax.building.step import (
  build_objective,
  build_optimizer,
  build_state,
  state_shapes,
)
from harma_jax.building.text import build_tokens, caption_lengths, context_length
from harma_jax.data.annotations import fingerprint
from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.devices.mesh import make_mesh
from harma_jax.errors import UserError
from harma_jax.model.sizes import SIZES
from harma_jax.rundir.workdir import claim, read_provenance
from harma_jax.stepping.optim import count
from harma_jax.weights.names import give, names_of, paths_of


def all_equal(tree, other):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, tree, other)))


def with_adapters(small_config, **changes):
  fields = {'model.adapters': 'harma', 'optimizer.train': 'adapters'}
  return small_config(fields | changes)


def test_the_model_has_what_the_config_says(small_config):
  fields = {
    'model.image_size': 32,
    'model.shared_adapter': 'both',
    'model.adapter_padding': 'none',
    'model.adapter_heads': 4,
    'model.bottleneck': 16,
    'model.layers': 'unroll',
    'model.remat': 'block',
    'model.dtype': 'bfloat16',
  }
  model = build_model(small_config(fields | {'model.adapters': 'harma'}))
  assert model.size.image_size == 32
  assert (model.shared_adapter, model.adapter_padding) == ('both', 'none')
  assert (model.adapter.heads, model.adapter.bottleneck) == (4, 16)
  assert model.adapter.shared_bottleneck == 8
  assert (model.layers, model.remat, model.dtype) == ('unroll', 'block', jnp.bfloat16)


def test_a_model_without_adapters_and_the_automatic_dtype_of_a_cpu(small_config):
  model = build_model(small_config())
  assert model.adapter is None
  assert model.dtype == jnp.float32


def test_the_objective_takes_its_weights(small_config):
  fields = {'objective.triplet_weight': 0.5, 'objective.contrastive_weight': 2.0}
  features = jnp.eye(4)
  arguments = (features, features[::-1], jnp.arange(4))
  loss, terms = build_objective(small_config(fields))(*arguments, temperature=0.1)
  expected = 2 * terms['contrastive'] + 0.5 * terms['triplet']
  assert float(loss) == pytest.approx(float(expected))


@pytest.mark.parametrize(('reduction', 'warns'), [('sum', True), ('mean', False)])
def test_a_sum_that_grows_with_the_batch_is_warned_of(
  small_config, caplog, reduction, warns
):
  fields = {'objective.triplet_reduction': reduction, 'objective.triplet_weight': 1.0}
  build_objective(small_config(fields))
  assert ('triplet_reduction=sum' in caplog.text) == warns


def test_warmup_is_a_share_of_the_steps(small_config):
  config = small_config({'optimizer.warmup': 0.2})
  _, schedule = build_optimizer(config, total_steps=50)
  rates = [float(schedule(step)) for step in range(51)]
  assert rates[0] == 0.0
  assert np.argmax(rates) == 10
  assert rates[10] == pytest.approx(0.02)
  assert rates[50] == pytest.approx(0.0, abs=1e-9)


def test_shapes_of_a_state_are_those_of_the_state(small_config):
  config = with_adapters(small_config)
  model = build_model(config)
  optimizer, _ = build_optimizer(config, total_steps=6)
  shapes = state_shapes(config, model, optimizer)
  params, _ = build_params(config, model, init='')
  state = build_state(config, params, optimizer)
  assert jax.tree.structure(shapes) == jax.tree.structure(state)
  pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(state), strict=True)
  assert all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs)
  assert 0 < count(state.trainable) < count(state.frozen)


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


def test_weights_of_another_size_are_refused(small_config, finished_run):
  config = small_config({'model.image_size': 32})
  with pytest.raises(UserError, match=r'of another shape: image/.*Set model\.\*'):
    build_params(config, build_model(config), init=str(finished_run))


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
  random = jax.jit(model.init)(jax.random.key(config.seed))
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


def test_the_attention_kernel_is_the_one_that_is_faster_everywhere(
  small_config, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    building_model, 'fastest_kernel', lambda *_, **about: asked.append(about) or 'cudnn'
  )
  model = build_model(config := small_config())
  assert model.kernel == 'xla'
  assert with_fastest_attention(config, model).kernel == 'cudnn'
  assert asked == [{'batch_size': 1, 'dtype': jnp.float32}]
  monkeypatch.setattr(
    building_model, 'maximum', lambda _: 1
  )  # xla is faster in another process
  assert with_fastest_attention(config, model).kernel == 'xla'
  named = small_config({'model.attention': 'xla'})
  assert with_fastest_attention(named, model).kernel == 'xla'
  assert len(asked) == 2


def test_a_run_with_another_kernel_is_built_anywhere(small_config):
  config = small_config({'model.attention': 'cudnn'})
  assert build_model(config).kernel == 'xla'
  with pytest.raises(UserError, match=r'model\.attention: expected auto or xla where'):
    check_config(config)


def test_tables_and_tokens(small_config):
  config = small_config({'data.context_length': 5})
  table = build_table(config, 'val')
  assert (table.n_images, table.n_captions, table.split) == (6, 12, 'val')
  model = build_model(config)
  assert build_tokens(config, table, model).shape == (12, 5)
  assert context_length(small_config(), model) == model.size.context_length == 8


def test_a_part_of_the_training_images_may_be_val(small_config):
  """Whether the annotations have a split of that name, or none."""
  for name in ('val', 'held out'):
    config = small_config({'data.hold_out': 0.25, 'data.val_split': name})
    train, val, test = (build_table(config, split) for split in ('train', name, 'test'))
    assert (train.n_images, val.n_images, test.n_images) == (9, 3, 6)
    assert (train.split, val.split) == ('train', name)
    whole = build_table(small_config(), 'train')
    assert {*train.image_files, *val.image_files} == set(whole.image_files)


def test_a_prepared_folder_holds_out_the_same_images(small_config, prepared_data):
  changes = {'data.hold_out': 0.25}
  source = small_config(changes)
  prepared = small_config(changes | {'data.root': str(prepared_data)})
  for split in ('train', 'val'):
    tables = [build_table(config, split) for config in (source, prepared)]
    assert len({fingerprint(table) for table in tables}) == 1


def test_scenes_are_drawn_where_a_style_is_given(small_config, tmp_path):
  scenes = {'style': 'summer', 'train': 4, 'val': 3, 'test': 2, 'seed': 5}
  fields = {f'data.scenes.{name}': value for name, value in scenes.items()}
  config = small_config(fields | {'data.root': str(tmp_path), 'data.test_split': ''})
  assert [build_table(config, name).n_images for name in ('train', 'val')] == [4, 3]
  (folder,) = tmp_path.iterdir()
  assert 'summer' in folder.name
  assert 'summer' in json.loads((folder / 'scenes.json').read_text()).values()


def test_scenes_want_a_folder_too(small_config, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = small_config({'data.scenes.style': 'summer', 'data.root': ''})
  with pytest.raises(UserError, match=r'--config\.data\.root=FOLDER'):
    build_table(config, 'train')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('cache', ['device', 'host', 'stream', 'auto'])
def test_images_are_kept_as_the_config_says(small_config, cache):
  config = small_config({'data.cache_side': 16, 'data.cache': cache})
  pixels, chosen = build_pixels(config, build_table(config, 'val'))
  assert chosen == ('host' if cache == 'auto' else cache)
  assert pixels.shape == (16, 16)
  assert (pixels.kept is None) == (cache in ('stream', 'device'))


def test_the_cache_has_room_in_every_process(small_config, monkeypatch):
  """Another process has less memory: all take what it can."""
  monkeypatch.setattr(build_data, 'maximum', lambda place: max(place, 2))
  config = small_config({'data.cache_side': 16, 'data.cache': 'auto'})
  assert build_pixels(config, build_table(config, 'val'))[1] == 'stream'


def test_a_prepared_folder_gives_what_its_source_does(small_config, prepared_data):
  source = small_config({'data.cache': 'stream'})
  prepared = small_config({'data.cache': 'stream', 'data.root': str(prepared_data)})
  model = build_model(source)
  for name in ('train', 'val', 'test'):
    table, read = (build_table(config, name) for config in (source, prepared))
    assert fingerprint(read) == fingerprint(table)
    tokens, other = (build_tokens(source, each, model) for each in (table, read))
    np.testing.assert_array_equal(other, tokens)
    expected, found = (
      build_pixels(config, each)[0].take(np.arange(6))
      for config, each in ((source, table), (prepared, read))
    )
    np.testing.assert_array_equal(found.images, expected.images)
  expected, found = (build_evaluation_split(source, t, model) for t in (table, read))
  np.testing.assert_array_equal(found.images, expected.images)


def test_annotations_that_are_named_are_read_beside_prepared_files(
  small_config, write_data, tmp_path
):
  root = write_data(tmp_path / 'data')
  (root / 'incomplete').mkdir()
  fields = {'data.root': str(root)}
  with pytest.raises(UserError, match=r'prepared folder with manifest\.json'):
    build_table(small_config(fields), 'val')
  fields['data.annotations'] = 'captions.jsonl'
  assert build_table(small_config(fields), 'val').n_images == 6


def test_unreadable_images_are_skipped_where_the_config_says_so(
  small_config, write_data, tmp_path, caplog
):
  root = write_data(tmp_path / 'data')
  (root / 'images/val_2.png').write_bytes(b'no image')
  fields = {'data.root': str(root), 'data.on_bad_image': 'skip'}
  with caplog.at_level(logging.WARNING):
    table = build_table(small_config(fields), 'val')
  assert (table.n_images, table.n_captions) == (5, 10)
  assert caplog.text.count('val_2.png: expected') == 1
  assert build_table(small_config(fields | {'data.on_bad_image': 'raise'}), 'val')


def test_the_largest_image_is_the_configs_choice(small_config):
  config = small_config({'data.max_pixels': 100})
  with pytest.raises(UserError, match='more than max_pixels = 100'):
    build_pixels(config, build_table(config, 'val'))


def test_augmentation_takes_its_settings(small_config):
  settings = {'crop_scale': (1.0, 1.0), 'flip': False, 'rand_augment': (0, 0)}
  fields = {f'augment.{name}': value for name, value in settings.items()}
  rng = np.random.default_rng(0)
  resident = {'tokens': np.zeros((40, 3), np.int32)}
  batch = {
    **{name: np.arange(40, dtype=np.int32) for name in ('items', 'image_ids', 'rows')},
    **{name: np.zeros(40, np.int32) for name in ('seed', 'epoch')},
    'images': np.repeat(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), 40, axis=0),
    'sizes': np.full((40, 2), 16, np.int32),
  }
  place = {'side': 16, 'mesh': make_mesh()}
  drawn = build_inputs(small_config(fields), **place)(resident, batch)['images']
  np.testing.assert_array_equal(drawn, batch['images'])
  turning = small_config(fields | {'augment.quarter_turns': True})
  turned = build_inputs(turning, **place)(resident, batch)['images']
  assert len({image.tobytes() for image in np.asarray(turned)}) == 4


@pytest.mark.parametrize(
  ('changes', 'lengths'),
  [
    ({}, (16, 24, 32, 48)),
    ({'adapters': 'harma', 'adapter_padding': 'padding'}, (16, 24, 32, 48)),
    ({'adapters': 'harma', 'adapter_padding': 'none'}, ()),
  ],
)
def test_captions_are_cut_where_no_adapter_sees_padding(small_config, changes, lengths):
  fields = {f'model.{name}': value for name, value in changes.items()}
  config = small_config(fields | {'model.size': 'ViT-B-32'})
  assert caption_lengths(config, build_model(config)) == lengths
  with config.unlocked():
    config.data.context_length = 24
  assert caption_lengths(config, build_model(config)) == lengths[:1]


def test_a_split_holds_resized_images_in_order(small_config, small_data, caplog):
  config = small_config()
  table, model = build_table(config, 'test'), build_model(config)
  with caplog.at_level(logging.WARNING):
    split = build_evaluation_split(config, table, model)
  assert (split.name, split.images.shape) == ('test', (6, 16, 16, 3))
  assert np.array_equal(split.tokens, build_tokens(config, table, model))
  for row, pixels in enumerate(split.images):
    image = read_image(table.image_path(row))
    assert np.array_equal(pixels, resize_for_evaluation(image, side=16))
