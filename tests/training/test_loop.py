"""Whole runs: what they log, save and report, and how they go on after a stop."""

import contextlib
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building import recipe
from harma_jax.building import step as build_step
from harma_jax.building.model import build_model
from harma_jax.building.params import read_start, read_workdir
from harma_jax.building.stages import stages
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.data.annotations import load_captions
from harma_jax.data.sampler import batch_rows
from harma_jax.errors import UserError
from harma_jax.evaluation.duplicates import caption_groups, ceiling_row
from harma_jax.evaluation.recall import RECALLS, chance_recall
from harma_jax.evaluation.ties import RECORDED
from harma_jax.model.clip import init_params
from harma_jax.objective.sigmoid import first_bias
from harma_jax.reporting.record import read_record
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.metrics import RunLog, read_rows
from harma_jax.stepping.optim import updates_made
from harma_jax.training import loop as loop
from harma_jax.training.loop import train

STEPS = 6  # of the small run: 24 captions in batches of 8, two epochs


def rows_of(workdir, kind=None):
  rows = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
  return [row for row in rows if kind in (None, row['kind'])]


def evaluations_of(workdir):
  rows = rows_of(workdir, 'evaluation')
  return {(row['step'], row['split']): row for row in rows}


def results_of(workdir):
  return json.loads((workdir / 'results.json').read_text())


def without_speed(rows):
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


def saved_state(config, workdir, step):
  optimizer, _ = build_optimizer(config, total_steps=STEPS)
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    state_shapes(config, build_model(config), optimizer),
  )
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore(step, shapes)


def all_equal(tree, other):
  return jax.tree.all(jax.tree.map(np.array_equal, tree, other))


@contextlib.contextmanager
def stopped_after(step):
  """Interrupts a run when it would note that `step` steps are done."""
  note = RunLog.train

  def train_or_stop(log, at, metrics):
    if at == step:
      raise KeyboardInterrupt
    note(log, at, metrics)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(RunLog, 'train', train_or_stop)
    with pytest.raises(KeyboardInterrupt):
      yield


@pytest.fixture
def fake_recalls(monkeypatch):
  """`fake_recalls([1, 3, 2])`: mean recalls of val to come; lists what is evaluated."""

  def arrange(of_val):
    coming, seen = iter(of_val), []

    def evaluate(params, split):
      seen.append((split.name, np.array(params['image']['projection'])))
      value = next(coming) if split.name == 'val' else 0
      return dict.fromkeys(RECALLS, float(value))

    monkeypatch.setattr(recipe, 'make_evaluator', lambda *_, **__: evaluate)
    return seen

  return arrange


def test_each_step_and_each_evaluation_has_one_row(finished_run):
  steps = rows_of(finished_run, 'train')
  assert [row['step'] for row in steps] == list(range(1, STEPS + 1))
  assert [row['epoch'] for row in steps] == pytest.approx(np.arange(1, 7) / 3)
  names = {'loss', 'contrastive', 'gradient_norm', 'temperature', 'learning_rate'}
  assert all(names | {'pairs_per_second'} <= row.keys() for row in steps)
  assert all(np.isfinite(row['loss']) for row in steps)
  evaluations = rows_of(finished_run, 'evaluation')
  best = results_of(finished_run)['best_step']
  expected = {(0, 'val'), (3, 'val'), (6, 'val'), (0, 'test'), (best, 'test')}
  assert len(evaluations) == len(expected)
  assert evaluations_of(finished_run).keys() == expected


def test_results_hold_chance_step_0_and_the_step_that_was_best_on_val(
  finished_run, small_data
):
  results, measured = results_of(finished_run), evaluations_of(finished_run)
  best = results['best_step']
  of_val = {at[0]: row for at, row in measured.items() if at[1] == 'val'}
  assert of_val[best]['mean_recall'] == max(r['mean_recall'] for r in of_val.values())
  assert results['selected_on'] == 'val'
  assert (results['seed'], results['steps']) == (0, STEPS)
  for split in ('val', 'test'):
    table = load_captions(small_data, split=split)
    chance, ceiling, step_0, *_, selected = results['splits'][split].values()
    assert chance == chance_recall(table.caption_image, table.n_images)
    groups = caption_groups(table.captions, cleaning='released')
    assert ceiling == ceiling_row(groups, table.caption_image)
    assert measured[0, split]['i2t_median_rank'] >= 1
    assert step_0 == {name: measured[0, split][name] for name in RECORDED}
    assert selected == {name: measured[best, split][name] for name in RECORDED}


def test_a_table_of_each_split_is_printed(finished_run):
  printed = (finished_run.parent / 'stdout.txt').read_text()
  for split in ('val', 'test'):
    assert f'{split}: recall in % of 6 images and 12 captions, seed 0' in printed
  assert printed.count('chance') == printed.count('ceiling') == 2
  assert printed.count('step 0') == 2
  assert '16.7' in printed  # R@1 of six images by chance


def test_only_the_trainable_leaves_change(finished_run, small_config):
  config = small_config()
  state = saved_state(config, finished_run, STEPS)
  fresh = init_params(build_model(config), jax.random.key(config.seed))
  assert int(state.step) == STEPS
  for tower in ('image', 'text'):
    before = fresh[tower].pop('projection')
    assert not np.array_equal(state.trainable[tower]['projection'], before)
    assert all_equal(state.frozen[tower], fresh[tower])


@pytest.mark.parametrize(
  ('stop', 'every_steps', 'saved'),
  [(5, 2, 4), (5, 0, 3), (1, 0, 0)],
  ids=['in mid-epoch', 'after an evaluation', 'at the first step'],
)
def test_a_stopped_run_goes_on_bit_identically(
  small_config, finished_run, tmp_path, caplog, stop, every_steps, saved
):
  config = small_config({'checkpoint.every_steps': every_steps})
  with stopped_after(stop):
    train(config, workdir=tmp_path)
  assert not (tmp_path / 'results.json').exists()
  with caplog.at_level(logging.INFO, logger='absl'):
    train(config, workdir=tmp_path)
  assert f'resuming after step {saved} of 6' in caplog.text
  assert without_speed(rows_of(tmp_path)) == without_speed(rows_of(finished_run))
  assert results_of(tmp_path) == results_of(finished_run)
  ended = saved_state(config, tmp_path, STEPS)
  assert all_equal(ended, saved_state(config, finished_run, STEPS))


def test_a_run_with_the_released_optimizer_goes_on_bit_identically(
  small_config, finished_run, tmp_path
):
  config = small_config({'optimizer.kind': 'adamw_released', 'mesh.fsdp': 2})
  train(config, workdir=tmp_path / 'whole')
  with stopped_after(5):
    train(config, workdir=tmp_path / 'stopped')
  train(config, workdir=tmp_path / 'stopped')
  states = [saved_state(config, tmp_path / run, STEPS) for run in ('whole', 'stopped')]
  assert all_equal(*states)
  assert updates_made(states[0].optimizer_state, default=None) == STEPS
  other = saved_state(small_config(), finished_run, STEPS)
  assert not all_equal(states[0].trainable, other.trainable)


@pytest.mark.parametrize('reading', [{}, {'data.cache': 'stream', 'data.workers': 2}])
def test_a_run_on_a_prepared_folder_is_the_run_on_its_source(
  small_config, prepared_data, finished_run, tmp_path, reading
):
  config = small_config({'data.root': str(prepared_data)} | reading)
  train(config, workdir=tmp_path)
  assert without_speed(rows_of(tmp_path)) == without_speed(rows_of(finished_run))
  for name in ('data.json', 'results.json'):
    assert (tmp_path / name).read_text() == (finished_run / name).read_text()


@pytest.fixture(scope='module')
def grouped(small_config, tmp_path_factory):
  """The config and folder of a finished run of two steps in a program."""
  config = small_config({'train.steps_per_dispatch': 2, 'log_every': 100})
  workdir = tmp_path_factory.mktemp('grouped') / 'run'
  train(config, workdir=workdir)
  return config, workdir


@pytest.mark.parametrize('stop', [4, 6])
def test_steps_in_one_program_go_on_bit_identically(
  grouped, finished_run, tmp_path, stop
):
  """Groups end where they end in the run that was not stopped, not where it was."""
  config, whole_run = grouped
  with stopped_after(stop):
    train(config, workdir=tmp_path)
  train(config, workdir=tmp_path)
  whole, stopped, single = (
    saved_state(config, folder, STEPS) for folder in (whole_run, tmp_path, finished_run)
  )
  assert all_equal(whole, stopped)
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6),
    whole,
    single,
  )


def test_a_run_with_more_epochs_is_the_longer_run(small_config, tmp_path):
  constant = {'optimizer.schedule': 'constant', 'optimizer.warmup': 0.0}
  shorter = small_config(constant | {'train.epochs': 1.0})
  longer = small_config(constant | {'train.epochs': 2.0})
  train(shorter, workdir=tmp_path / 'run')
  assert results_of(tmp_path / 'run')['steps'] == 3
  train(longer, workdir=tmp_path / 'run')
  train(longer, workdir=tmp_path / 'whole')
  results = [results_of(tmp_path / name) for name in ('run', 'whole')]
  assert results[0] == results[1]
  assert results[0]['steps'] == 6
  states = [saved_state(longer, tmp_path / name, 6) for name in ('run', 'whole')]
  assert all_equal(*states)


def test_a_run_that_encodes_each_image_once_goes_on_bit_identically(
  small_config, tmp_path
):
  changes = {'data.image_reuse': True, 'data.cache': 'device', 'log_every': 100}
  config = small_config(changes)
  train(config, workdir=tmp_path / 'whole')
  with stopped_after(5):
    train(config, workdir=tmp_path / 'stopped')
  train(config, workdir=tmp_path / 'stopped')
  whole, stopped = (
    saved_state(config, tmp_path / name, STEPS) for name in ('whole', 'stopped')
  )
  assert all_equal(whole, stopped)


def test_a_run_with_a_sigmoid_loss_goes_on_bit_identically(small_config, tmp_path):
  config = small_config({'objective.contrastive': 'sigmoid', 'log_every': 1})
  train(config, workdir=tmp_path / 'whole')
  with stopped_after(5):
    train(config, workdir=tmp_path / 'stopped')
  train(config, workdir=tmp_path / 'stopped')
  whole, stopped = (
    saved_state(config, tmp_path / name, STEPS) for name in ('whole', 'stopped')
  )
  assert all_equal(whole, stopped)
  rows = [row for row in read_rows(tmp_path / 'whole/metrics.jsonl') if 'loss' in row]
  first = {'logit_bias': first_bias(config.train.batch_size), 'temperature': 0.1}
  for name in first:
    assert rows[0][name] == np.float32(first[name])
    assert rows[-1][name] != rows[0][name]


def test_a_run_from_before_microbatches_goes_on_with_one(small_config, tmp_path):
  """To the weights that it would have had, but for rounding."""
  grouped = {'train.steps_per_dispatch': 2, 'log_every': 100, 'data.image_reuse': True}
  config = small_config(grouped | {'train.batch_size': 16, 'train.epochs': 4.0})
  train(config, workdir=tmp_path / 'whole')
  with stopped_after(2):
    train(config, workdir=tmp_path / 'stopped')
  file = tmp_path / 'stopped/config.json'
  fields = json.loads(file.read_text())
  del fields['train']['microbatch']
  file.write_text(json.dumps(fields))
  with config.unlocked():
    config.train.microbatch = 8
  train(config, workdir=tmp_path / 'stopped')
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6),
    *(saved_state(config, tmp_path / name, 4) for name in ('whole', 'stopped')),
  )


def test_half_precision_of_frozen_weights_stays_on_the_devices(
  small_config, tmp_path, monkeypatch
):
  """Also after a resume; the checkpoint has them as they came, for exports."""
  config, seen = small_config({'model.frozen_dtype': 'bfloat16'}), set()

  original = loop.start_state

  def start_state(*trainer, **options):
    state = original(*trainer, **options)
    seen.add(frozenset(str(leaf.dtype) for leaf in jax.tree.leaves(state.frozen)))
    return state

  monkeypatch.setattr(loop, 'start_state', start_state)
  with stopped_after(5):
    train(config, workdir=tmp_path)
  train(config, workdir=tmp_path)
  assert seen == {frozenset({'bfloat16'})}
  fresh = init_params(build_model(config), jax.random.key(config.seed))
  state = saved_state(config, tmp_path, STEPS)
  for tower in ('image', 'text'):
    fresh[tower].pop('projection')
    assert all_equal(state.frozen[tower], fresh[tower])


def test_a_finished_run_is_reported_again_without_a_step(
  small_config, finished_run, monkeypatch, capsys
):
  files = ('metrics.jsonl', 'results.json', 'config.json')
  before = [(finished_run / name).read_bytes() for name in files]
  monkeypatch.setattr(loop, 'place_group', lambda *_, **__: pytest.fail('a step'))
  train(small_config(), workdir=finished_run)
  assert [(finished_run / name).read_bytes() for name in files] == before
  assert capsys.readouterr().out == (finished_run.parent / 'stdout.txt').read_text()


def test_a_row_that_a_killed_run_left_half_written_is_dropped(
  small_config, finished_run, tmp_path
):
  config = small_config()
  with stopped_after(5):
    train(config, workdir=tmp_path)
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"kind": "train", "st')
  noted = tmp_path / 'conflicts.jsonl'
  noted.write_text('{"step": 3}\n{"step": 5}\n{"st')
  train(config, workdir=tmp_path)
  assert noted.read_text() == '{"step": 3}\n'
  assert without_speed(rows_of(tmp_path)) == without_speed(rows_of(finished_run))


def test_test_is_measured_once_at_the_end_with_the_weights_that_val_chose(
  small_config, tmp_path, fake_recalls
):
  seen = fake_recalls([10, 30, 20])
  train(small_config(), workdir=tmp_path)
  assert [name for name, _ in seen] == ['test', 'val', 'val', 'val', 'test']
  assert np.array_equal(seen[4][1], seen[2][1])
  assert not np.array_equal(seen[4][1], seen[3][1])
  assert results_of(tmp_path)['best_step'] == 3
  assert [row['step'] for row in rows_of(tmp_path, 'evaluation')] == [0, 0, 3, 6, 3]


def test_a_resumed_run_remembers_a_best_step_of_before(
  small_config, tmp_path, fake_recalls
):
  config = small_config({'checkpoint.every_steps': 2})
  seen = fake_recalls([10, 30])
  with stopped_after(5):
    train(config, workdir=tmp_path)
  best = seen[-1][1]
  seen = fake_recalls([20])
  train(config, workdir=tmp_path)
  assert [name for name, _ in seen] == ['val', 'test']
  assert np.array_equal(seen[1][1], best)
  assert results_of(tmp_path)['best_step'] == 3


def test_the_expectation_over_ties_may_select(small_config, tmp_path, monkeypatch):
  """Three evaluations that the two mean recalls put into another order."""
  coming = iter([(3.0, 3.0), (2.0, 5.0), (1.0, 4.0)])

  def evaluate(params, split):
    mean, expected = next(coming) if split.name == 'val' else (0.0, 0.0)
    row = {f'{name}_expected': expected for name in RECALLS}
    return dict.fromkeys(RECALLS, mean) | row

  monkeypatch.setattr(recipe, 'make_evaluator', lambda *_, **__: evaluate)
  config = small_config({'evaluation.select_by': 'mean_recall_expected'})
  train(config, workdir=tmp_path)
  assert results_of(tmp_path)['best_step'] == 3
  (tmp_path / 'results.json').unlink()  # as of a run that has not ended
  assert read_record(tmp_path, config).best_step == 3


def test_selection_on_test_says_loudly_what_it_is(small_config, tmp_path, caplog):
  train(small_config({'evaluation.select_on': 'test'}), workdir=tmp_path)
  warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
  assert any('CHOSEN ON THE TEST SPLIT' in message for message in warnings)
  assert results_of(tmp_path)['selected_on'] == 'test'
  best = results_of(tmp_path)['best_step']
  measured = evaluations_of(tmp_path)
  assert measured.keys() >= {(0, 'test'), (3, 'test'), (6, 'test'), (best, 'val')}
  of_test = {at[0]: row['mean_recall'] for at, row in measured.items()}
  assert best in of_test


def test_selection_on_val_does_not_warn(small_config, finished_run, caplog):
  train(small_config(), workdir=finished_run)
  assert 'CHOSEN' not in caplog.text


def test_without_val_the_last_step_is_taken(small_config, tmp_path):
  train(small_config({'data.val_split': ''}), workdir=tmp_path)
  results = results_of(tmp_path)
  assert results['selected_on'] == 'nothing: the last step'
  assert results['best_step'] == STEPS
  assert list(results['splits']) == ['test']
  assert evaluations_of(tmp_path).keys() == {(0, 'test'), (STEPS, 'test')}


@pytest.mark.parametrize(
  'changes',
  [
    {'train.epochs': 0.0},
    {'optimizer.train': 'none', 'train.epochs': 2.0, 'model.adapters': 'lora'},
  ],
)
def test_without_an_epoch_the_starting_weights_are_measured(
  small_config, tmp_path, changes
):
  train(small_config(changes), workdir=tmp_path)
  results = results_of(tmp_path)
  assert (results['steps'], results['best_step']) == (0, 0)
  rows = [set(split) for split in results['splits'].values()]
  assert rows == [{'chance', 'ceiling', 'step 0'}] * 2
  assert not rows_of(tmp_path, 'train')


def test_an_epoch_may_be_evaluated_several_times(small_config, tmp_path, fake_recalls):
  fake_recalls(range(9))
  train(small_config({'evaluation.every_epochs': 0.1}), workdir=tmp_path)
  steps = [step for step, split in evaluations_of(tmp_path) if split == 'val']
  assert steps == list(range(STEPS + 1))


PRETRAIN = {
  'model': {'adapters': 'none'},
  'optimizer': {'train': 'full', 'learning_rate': 1e-3},
  'train': {'epochs': 1.0},
}


@pytest.fixture(scope='module')
def adapters_after_pretraining(small_config):
  """Config of a run that trains the whole model first, then adapters on it."""
  config = small_config(
    {
      'model.adapters': 'harma',
      'model.shared_adapter': 'none',
      'optimizer.train': 'adapters',
    }
  )
  with config.unlocked():
    config.pretrain = PRETRAIN
  return config


def test_adapters_start_from_the_best_weights_of_the_pretraining(
  adapters_after_pretraining, tmp_path
):
  train(adapters_after_pretraining, workdir=tmp_path)
  first, second = results_of(tmp_path / 'pretrain'), results_of(tmp_path)
  assert (first['steps'], second['steps']) == (3, STEPS)
  best = first['best_step']
  selected = f'step {best}, selected' if best else 'step 0'
  for split in ('val', 'test'):
    assert second['splits'][split]['step 0'] == first['splits'][split][selected]
  scratch, adapted = (read_workdir(tmp_path / at) for at in ('pretrain', ''))
  assert all_equal(scratch['image']['projection'], adapted['image']['projection'])
  start = read_start(tmp_path)
  assert all_equal(scratch['image']['projection'], start['image']['projection'])
  assert not all_equal(adapted['text'], start['text'])  # whose adapters are new
  config = json.loads((tmp_path / 'pretrain/config.json').read_text())
  assert 'pretrain' not in config
  assert config['optimizer']['train'] == 'full'
  assert (config['train']['epochs'], config['train']['batch_size']) == (1.0, 8)


@pytest.mark.parametrize(
  ('field', 'value', 'words'),
  [
    ('optimizer.schedule', 'steep', 'optimizer.schedule'),
    ('train.batch_size', 12, 'multiple of the 8 devices'),
    ('pretrain.train.epochs', -1.0, 'train.epochs'),
  ],
)
def test_no_stage_begins_while_another_is_mistaken(
  adapters_after_pretraining, tmp_path, monkeypatch, field, value, words
):
  config = adapters_after_pretraining.copy_and_resolve_references()
  config.update_from_flattened_dict({field: value})
  monkeypatch.setattr(loop, 'train_stage', lambda *_, **__: pytest.fail('began'))
  with pytest.raises(UserError, match=words):
    train(config, workdir=tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_given_weights_take_the_place_of_the_pretraining(
  adapters_after_pretraining, finished_run, tmp_path, caplog
):
  config = adapters_after_pretraining.copy_and_resolve_references()
  assert list(stages(config, workdir=tmp_path)) == [
    tmp_path / 'pretrain',
    tmp_path,
  ]
  caplog.set_level('INFO')
  config.init = str(finished_run)
  found = stages(config, workdir=tmp_path)
  config.objective.contrastive = 'softmax'  # as the weights tell
  assert found == {tmp_path: config}
  assert f'init={finished_run} takes the place' in caplog.text


def test_pretraining_does_not_begin_in_the_folder_of_another_run(
  adapters_after_pretraining, finished_run
):
  with pytest.raises(UserError, match=r"model\.adapters was 'none', now 'harma'"):
    train(adapters_after_pretraining, workdir=finished_run)
  assert not (finished_run / 'pretrain').exists()


@pytest.mark.parametrize(
  'overlay', [{'train': {'epoch': 1.0}}, {'trane': 1}, {'train': {'epochs': 'ten'}}]
)
def test_an_overlay_that_does_not_fit_is_the_users_mistake(
  small_config, tmp_path, overlay
):
  config = small_config()
  with config.unlocked():
    config.pretrain = overlay
  with pytest.raises(UserError, match='pretrain: expected fields of the config'):
    train(config, workdir=tmp_path)


@pytest.fixture
def spoil(monkeypatch):
  """`spoil(4)`: the loss of the step after four is not a number."""

  def arrange(at):
    make = build_step.make_train_step

    def make_spoiled(*arguments, **settings):
      step = make(*arguments, **settings)

      def spoiled(state, batch):
        after, metrics = step(state, batch)
        loss = jnp.where(state.step == at, jnp.nan, metrics['loss'])
        return after, metrics | {'loss': loss}

      return spoiled

    monkeypatch.setattr(build_step, 'make_train_step', make_spoiled)
    return lambda: monkeypatch.setattr(build_step, 'make_train_step', make)

  return arrange


def names_of(table, rows):
  return [f'row {row}, {table.image_path(row // 2)}, ' for row in rows]


@pytest.mark.parametrize(
  ('log_every', 'cache'),
  [
    (1, 'host'),
    (100, 'device'),
    pytest.param(1, 'device', marks=pytest.mark.slow),
    pytest.param(100, 'host', marks=pytest.mark.slow),
  ],
)
def test_a_step_that_is_not_finite_ends_the_run_and_loses_nothing(
  small_config, small_data, finished_run, tmp_path, spoil, log_every, cache
):
  config = small_config({'log_every': log_every, 'data.cache': cache})
  repair = spoil(4)
  with pytest.raises(UserError) as error:
    train(config, workdir=tmp_path)
  message = str(error.value)
  for words in ('step 5 of 6, in epoch 2: ', 'loss nan, ', str(tmp_path), 'skip'):
    assert words in message
  table = load_captions(small_data, split='train')
  rows = batch_rows(4, n=24, batch_size=8, seed=0)
  named = [name in message for name in names_of(table, rows)]
  assert named == [True] * 5 + [False] * 3
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.latest_step() == 4
  assert all(row['step'] <= 4 for row in rows_of(tmp_path))

  # What was no fault of the run is gone: it goes on as if nothing had been.
  repair()
  train(small_config(), workdir=tmp_path)
  ended = saved_state(config, tmp_path, STEPS)
  assert all_equal(ended, saved_state(config, finished_run, STEPS))
  assert results_of(tmp_path) == results_of(finished_run)


def test_a_run_may_go_on_without_a_step_that_is_not_finite(
  small_config, finished_run, tmp_path, spoil, caplog
):
  spoil(4)
  config = small_config()
  with pytest.raises(UserError, match='step 5 of 6'):
    train(config, workdir=tmp_path)
  skipping = small_config({'train.on_nonfinite': 'skip'})
  train(skipping, workdir=tmp_path)
  rows = rows_of(tmp_path, 'train')
  assert [row['step'] for row in rows] == list(range(1, STEPS + 1))
  assert [row['skipped'] for row in rows] == [0, 0, 0, 0, 1, 1]
  assert '1 steps skipped so far: loss or gradient not finite' in caplog.text
  state = saved_state(config, tmp_path, STEPS)
  assert updates_made(state.optimizer_state, default=None) == STEPS - 1
  assert not all_equal(state, saved_state(config, finished_run, STEPS))
  assert jax.tree.all(jax.tree.map(lambda x: np.isfinite(x).all(), state.trainable))


def test_an_evaluation_that_is_not_a_number_ends_the_run_and_is_not_the_best(
  small_config, tmp_path, fake_recalls
):
  fake_recalls([10, float('nan')])
  with pytest.raises(UserError, match='mean_recall that is a number at step 3'):
    train(small_config(), workdir=tmp_path)
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (0, 0)
