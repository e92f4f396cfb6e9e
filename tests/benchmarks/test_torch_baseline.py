"""The PyTorch baseline computes what the JAX step computes, so times compare."""

import importlib
import pathlib
import sys

import jax
import numpy as np
import optax
import pytest

from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import named_size
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.head import plain_head
from harma_jax.stepping.optim import (
  bound_temperature,
  label_leaves,
  patterns_of,
  split_params,
)
from harma_jax.stepping.step import init_state, make_train_step
from harma_jax.weights.export import tensors_of

torch = pytest.importorskip('torch')

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def baseline():
  sys.path.insert(0, str(REPOSITORY / 'benchmarks'))
  torch.set_num_threads(1)  # threads that spin cost toys much on a busy machine
  try:
    yield importlib.import_module('torch_baseline')
  finally:
    sys.path.remove(str(REPOSITORY / 'benchmarks'))


def jax_step(model, params, batch):
  """Loss, gradient norm, and the gradient: what a step of SGD at rate 1 takes away."""
  labels = label_leaves(params, patterns_of('adapters', shared=True))
  trainable, frozen = split_params(params, labels)
  optimizer = optax.sgd(1.0)
  objective = make_objective(
    contrastive_weight=1.0,
    triplet_weight=1.0,
    margin=0.2,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
  )
  step = make_train_step(
    model, plain_head(objective), optimizer, optax.constant_schedule(1.0)
  )
  state = init_state(trainable, frozen, optimizer=optimizer)
  state, metrics = jax.jit(step)(state, batch)
  return jax.tree.map(lambda old, new: old - new, params, state.params), metrics


def torch_step(baseline, harma, batch):
  step = baseline.make_step(harma, variant='eager', device='cpu')
  tensors = {
    name: torch.from_numpy(rows if rows.dtype == np.uint8 else rows.astype(np.int64))
    for name, rows in batch.items()
    if name != 'rows'
  }
  return [float(value) for value in step(tensors)]


@pytest.mark.parametrize('padding', ['none', 'padding'])
def test_loss_and_gradients_are_those_of_jax(
  baseline, make_clip, random_params, toy_batch, padding
):
  model = make_clip(adapter=AdapterSettings(), adapter_padding=padding)
  params = random_params(model)
  harma = baseline.Harma(model.size, mask_padding=padding == 'padding')
  tensors = tensors_of(params, model=model, program='harma')
  harma.load_state_dict(
    {name: torch.tensor(tensor) for name, tensor in tensors.items()}, strict=True
  )
  gradients, metrics = jax_step(model, params, toy_batch)
  loss, norm = torch_step(baseline, harma, toy_batch)
  assert loss == pytest.approx(float(metrics['loss']), rel=1e-5)
  assert norm == pytest.approx(float(metrics['gradient_norm']), rel=1e-4)
  expected = tensors_of(gradients, model=model, program='harma')
  del expected['temp']  # JAX's step keeps it in bounds
  for name in baseline.freeze(harma).keys() - {'temp'}:
    found = harma.get_parameter(name).grad.numpy()
    np.testing.assert_allclose(found, expected[name], atol=1e-4 * norm, err_msg=name)


def test_biases_alone_are_not_decayed(baseline, make_clip):
  trainable = baseline.freeze(baseline.Harma(make_clip().size))
  decayed, biases = baseline.make_optimizer(trainable).param_groups
  assert (decayed['weight_decay'], biases['weight_decay']) == (0.04, 0.0)
  assert len(biases['params']) == sum(name.endswith('bias') for name in trainable)
  assert len(decayed['params']) + len(biases['params']) == len(trainable)


def test_only_what_trains_gets_a_gradient(baseline, make_clip, toy_batch):
  harma = baseline.Harma(make_clip().size)
  torch_step(baseline, harma, toy_batch)
  with_gradient = {n for n, p in harma.named_parameters() if p.grad is not None}
  assert with_gradient == set(baseline.freeze(harma))
  assert not any('attn' in name or 'mlp' in name for name in with_gradient)


def test_the_temperature_is_bounded_as_in_jax(baseline, make_clip, toy_batch):
  expected = bound_temperature({'temperature': np.float32(9)})['temperature']
  harma = baseline.Harma(make_clip().size)
  with torch.no_grad():
    harma.temp.fill_(9)
  torch_step(baseline, harma, toy_batch)
  assert float(harma.temp.detach()) == float(expected)


def test_the_adapters_of_vit_b_32_have_the_known_size(baseline):
  with torch.device('meta'):
    harma = baseline.Harma(named_size('ViT-B-32'))
  model = Clip(size=named_size('ViT-B-32'), adapter=AdapterSettings())
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  trainable, _ = split_params(
    shapes, label_leaves(shapes, patterns_of('adapters', shared=True))
  )
  count = sum(p.numel() for p in baseline.freeze(harma).values())
  assert count == sum(leaf.size for leaf in jax.tree.leaves(trainable))


def test_measure_reports_positive_speeds(baseline):
  arguments = ['--size=tiny-16', '--batch=4', '--tokens=8', '--steps=3', '--warmup=1']
  row = baseline.measure(baseline.parse(arguments))
  rates = row['pairs_per_second']
  assert 0 < rates['p5'] <= rates['median'] <= rates['p95']
  assert (row['dtype'], row['batch'], row['tokens']) == ('float32', 4, 8)
