"""From a config to the objects that it describes; nothing below reads a config."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from harma_jax.devices.mesh import make_mesh, tree_shardings
from harma_jax.devices.processes import maximum
from harma_jax.errors import UserError, expect, expect_one_of
from harma_jax.evaluation.evaluator import EvaluationSplit, make_features
from harma_jax.evaluation.ranks import Features
from harma_jax.model.adapter import ADAPTER_PADDING, SHARED_ADAPTER, AdapterSettings
from harma_jax.model.adaptformer import AdaptFormerSettings
from harma_jax.model.additions import Additions
from harma_jax.model.attention_kernel import KERNELS, fastest_kernel, has_choice
from harma_jax.model.clip import Clip
from harma_jax.model.clip_adapter import ClipAdapterSettings
from harma_jax.model.lora import LoraSettings
from harma_jax.model.sizes import SIZES, named_size
from harma_jax.model.transformer import LAYERS, REMAT
from harma_jax.objective.alignment import Objective, make_objective, warn_of_sum
from harma_jax.objective.head import Head, harmonized_head, plain_head
from harma_jax.rundir.checkpoint import Checkpoints, step_to_read
from harma_jax.rundir.workdir import (
  PRETRAIN,
  has_saved,
  is_workdir,
  read_config,
  read_provenance,
)
from harma_jax.stepping.optim import (
  ADAPTERS,
  MODES,
  label_leaves,
  make_optimizer,
  make_schedule,
  patterns_of,
  split_params,
)
from harma_jax.stepping.step import TrainState, guard, init_state, make_train_step
from harma_jax.weights.adapter import load_adapter
from harma_jax.weights.load import (
  check_settings,
  graft,
  is_new,
  load_weights,
  recognise,
)
from harma_jax.weights.names import paths_of, tree_of
from harma_jax.weights.provenance import provenance
from harma_jax.weights.sources import open_source

# Of a batch's captions, in positions; 99 % of RSICD's and RSITMD's are within 27.
UNROLLED_DEPTH = 6  # of layers: at 12, a CPU compiles for minutes
SPACES = ('embedding', 'adapter')
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def build_model(config: ConfigDict) -> Clip:
  """The model of `config.model`; `dtype='auto'` is f32 on a CPU, bf16 elsewhere.

  Raises:
    UserError: a value that is none of its field's.
  """
  config = config.model
  expect_one_of(SHARED_ADAPTER, 'model.shared_adapter', found=config.shared_adapter)
  expect_one_of(ADAPTER_PADDING, 'model.adapter_padding', found=config.adapter_padding)
  expect_one_of(('auto', *LAYERS), 'model.layers', found=config.layers)
  expect_one_of(REMAT, 'model.remat', found=config.remat)
  expect_one_of(('auto', *KERNELS), 'model.attention', found=config.attention)
  expect_one_of(('auto', *DTYPES), 'model.dtype', found=config.dtype)
  expect_one_of(('auto', *DTYPES), 'model.frozen_dtype', found=config.frozen_dtype)
  size = named_size(config.size, image_size=config.image_size)
  dtype = _dtype(config.dtype)
  return Clip(
    size=size,
    adapter=_build_adapter(config),
    shared_adapter=config.shared_adapter,
    adapter_padding=config.adapter_padding,
    layers=_layers(config.layers, depth=max(size.image.layers, size.text.layers)),
    remat=config.remat,
    # A run that trained with another kernel is evaluated anywhere.
    kernel='cudnn' if config.attention == 'cudnn' and has_choice(dtype) else 'xla',
    dtype=dtype,
  )


def _build_adapter(config: ConfigDict) -> Additions | None:
  """What `config.model`, given here, adds to the towers."""
  expect_one_of(ADAPTERS, 'model.adapters', found=config.adapters)
  for field in ('bottleneck', 'shared_bottleneck'):
    expect(
      config[field] % config.adapter_heads == 0,
      f'model.{field}',
      f'a multiple of the {config.adapter_heads} heads (model.adapter_heads)',
      found=config[field],
    )
  harma = AdapterSettings(
    bottleneck=config.bottleneck,
    shared_bottleneck=config.shared_bottleneck,
    heads=config.adapter_heads,
    attention=config.adapter_attention,
  )
  adapters = {
    'harma': harma,
    'lora': LoraSettings(**config.lora),
    'adaptformer': AdaptFormerSettings(**config.adaptformer),
    'clip_adapter': ClipAdapterSettings(**config.clip_adapter),
    'none': None,
  }
  return adapters[config.adapters]


def with_fastest_attention(config: ConfigDict, model: Clip) -> Clip:
  """`model`; with `model.attention=auto` its kernel is the faster one, by measurement.

  All processes take the same: cuDNN's where it is faster in each of them.
  """
  if config.model.attention != 'auto':
    return model
  own = fastest_kernel(
    model.size,
    batch_size=max(config.train.batch_size // jax.device_count(), 1),
    dtype=model.dtype,
  )
  kernel = KERNELS[maximum(KERNELS.index(own))]
  return dataclasses.replace(model, kernel=kernel)


def frozen_dtype(config: ConfigDict) -> jnp.dtype:
  """In which the weights that do not train are kept on the devices."""
  return _dtype(config.model.frozen_dtype)


def _dtype(name: str) -> jnp.dtype:
  automatic = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  return DTYPES[automatic if name == 'auto' else name]


def _layers(layers: str, *, depth: int) -> str:
  """`auto` unrolls shallow towers: 1.1 to 1.3 times as fast on a CPU."""
  if layers != 'auto':
    return layers
  return 'unroll' if depth <= UNROLLED_DEPTH else 'scan'


def build_objective(config: ConfigDict) -> Objective:
  """The objective of `config.objective`; warns of a reduction that depends on B."""
  warn_of_sum(
    triplet_reduction=config.objective.triplet_reduction,
    triplet_weight=config.objective.triplet_weight,
    batch_size=config.train.batch_size,
  )
  return make_objective(**config.objective)


def build_optimizer(config: ConfigDict, *, total_steps: int):
  """The optimizer and the schedule of `config.optimizer` over `total_steps` steps."""
  config = config.optimizer
  expect_one_of(MODES, 'optimizer.train', found=config.train)
  schedule = make_schedule(
    config.schedule,
    learning_rate=config.learning_rate,
    warmup_steps=round(config.warmup * total_steps),
    total_steps=total_steps,
  )
  optimizer = make_optimizer(
    schedule,
    b1=config.b1,
    b2=config.b2,
    eps=config.eps,
    weight_decay=config.weight_decay,
    clip_norm=config.clip_norm,
  )
  return optimizer, schedule


def build_head(config: ConfigDict, objective: Objective, *, total_steps: int) -> Head:
  """The head of the step: plain, or harmonized as `config.harmonization` says."""
  settings = config.harmonization
  expect_one_of(SPACES, 'harmonization.space', found=settings.space)
  if settings.pair == 'none':
    return plain_head(objective)
  return harmonized_head(
    objective,
    pair=settings.pair,
    realign=settings.realign,
    curriculum=settings.curriculum,
    indicator=settings.indicator,
    threshold=tuple(settings.threshold),
    unit=settings.threshold_unit,
    start_step=round(settings.start * total_steps),
    anneal_steps=round(settings.anneal * total_steps),
    renormalize=settings.renormalize,
    seed=config.seed,
  )


def build_step(
  config: ConfigDict, model: Clip, optimizer, schedule, *, total_steps: int
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """The step of a run over `total_steps` steps, with the guard of its config."""
  settings = config.harmonization
  in_weights = settings.pair != 'none' and settings.space == 'adapter'
  head = build_head(config, build_objective(config), total_steps=total_steps)
  step = make_train_step(
    model,
    head,
    optimizer,
    schedule,
    weight_space_chunk=settings.chunk if in_weights else 0,
  )
  return guard(step, halt=config.train.on_nonfinite == 'raise')


def build_state(
  config: ConfigDict, params: dict, optimizer, *, n_captions: int = 0
) -> TrainState:
  """The state before the first step, from parameters (or, under eval_shape, shapes).

  Args:
    config: of the run.
    params: all parameters.
    optimizer: of the trainable ones.
    n_captions: of the training split, for the account that harmonization keeps of them.
  """
  patterns = patterns_of(
    config.optimizer.train,
    shared='shared_adapter' in params,
    adapters=config.model.adapters,
  )
  labels = label_leaves(params, patterns)
  trainable, frozen = split_params(params, labels)
  keeps_account = config.harmonization.pair != 'none'
  return init_state(
    trainable,
    frozen,
    optimizer=optimizer,
    curriculum_size=n_captions if keeps_account else 0,
  )


def state_shapes(
  config: ConfigDict, model: Clip, optimizer, *, n_captions: int = 0
) -> TrainState:
  """The state before the first step as shapes and dtypes; nothing is computed.

  Raises:
    UserError: `optimizer.train` does not fit the model's parameters.
  """
  return jax.eval_shape(
    lambda key: build_state(config, model.init(key), optimizer, n_captions=n_captions),
    jax.random.key(0),
  )


def resolve_size(config: ConfigDict, *, workdir: pathlib.Path) -> ConfigDict:
  """`config` with `model.size='auto'` as a started run or the starting weights tell it.

  Args:
    config: of a run.
    workdir: its folder; what it has saved decides, and the weights may be gone by then.

  Raises:
    UserError: there are no weights, or they do not tell.
  """
  if config.model.size != 'auto':
    return config
  if has_saved(workdir) or is_workdir(config.init):
    known = read_config(workdir if has_saved(workdir) else config.init).model
    found = {'size': known.size, 'image_size': known.image_size}
  elif config.init:
    size, pixels = recognise(open_source(config.init))
    is_usual = pixels == named_size(size).image_size
    found = {'size': size, 'image_size': 0 if is_usual else pixels}
  else:
    raise UserError(
      'model.size: expected a size where init is empty; found auto. '
      f'Set --config.model.size to one of {", ".join(SIZES)}.'
    )
  config = config.copy_and_resolve_references()
  config.model.size = found['size']
  config.model.image_size = config.model.image_size or found['image_size']
  return config


def build_params(config: ConfigDict, model: Clip, *, init: str) -> tuple[dict, dict]:
  """Starting parameters, random or those of `init`, and a record of their origin.

  The adapters of `config.adapter` come last, in place of what is there.

  Raises:
    UserError: `init` or the adapters cannot be read or do not fit the model.
  """
  params, record = _build_backbone(config, model, init=init)
  if config.adapter:
    params, record['adapter'] = load_adapter(config.adapter, params, model=model)
  return params, record


def _build_backbone(config: ConfigDict, model: Clip, *, init: str) -> tuple[dict, dict]:
  key = jax.random.key(config.seed)
  if is_workdir(init):
    params = graft(build_fresh(model, key), read_workdir(init), source_name=init)
    return params, {'init': init, 'run': read_provenance(init)}
  if init:
    source = open_source(init)
    check_settings(source, model.size)
    params = load_weights(source, build_fresh(model, key), model=model)
    return params, provenance(source, init=init, model=model)
  if config.optimizer.train != 'full':
    logging.warning(
      'init is empty: the frozen weights are random, and optimizer.train=%s learns '
      'little from them. Set --config.init=... or --config.optimizer.train=full.',
      config.optimizer.train,
    )
  return jax.jit(model.init)(key), {'init': '', 'seed': config.seed}


def build_fresh(model: Clip, key: jax.Array) -> dict:
  """What weights are loaded into: new parameters, and shapes of CLIP's own."""

  def new(key):
    params = paths_of(model.init(key))
    return {p: leaf for p, leaf in params.items() if is_new(p) or p == 'temperature'}

  return tree_of(paths_of(jax.eval_shape(model.init, key)) | jax.jit(new)(key))


def check_init(init: str) -> None:
  """Opens the file of `build_params`, and downloads it where it is one of a hub.

  Raises:
    UserError: there is none, or it cannot be read.
  """
  if init and not is_workdir(init):
    open_source(init)


def read_workdir(workdir: str | pathlib.Path) -> dict:
  """The parameters of a run's best step, as numpy arrays.

  Raises:
    UserError: nothing has been saved in `workdir`.
  """
  config = read_config(workdir)
  optimizer, _ = build_optimizer(config, total_steps=1)
  abstract = state_shapes(config, build_model(config), optimizer)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  abstract = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), abstract
  )
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    step = step_to_read(checkpoints, workdir=workdir)
    # On the host: on a device they could not be laid out over several.
    return jax.device_get(checkpoints.restore_params(step, abstract).params)


def read_start(workdir: str | pathlib.Path) -> dict:
  """The parameters before a run's first step, as numpy arrays.

  They are built again as the run built them: from the weights of `init`, or from the
  run that came first.

  Raises:
    UserError: `workdir` is not the folder of a run, or the weights that it started from
      are gone or are others now.
  """
  config = read_config(workdir)
  first = pathlib.Path(workdir) / PRETRAIN
  init = str(first) if is_workdir(first) else config.init
  params, record = build_params(config, build_model(config), init=init)
  optimizer, _ = build_optimizer(config, total_steps=1)
  state = jax.device_get(build_state(config, params, optimizer))
  saved, known = paths_of(read_workdir(workdir)), read_provenance(workdir)
  frozen = paths_of(state.frozen).items()
  if record.get('sha256') != known.get('sha256', record.get('sha256')) or any(
    not np.array_equal(leaf, saved[path]) for path, leaf in frozen
  ):
    raise UserError(
      f'Expected the weights that the run in {workdir} started from; those of '
      f'{init or "its seed"} are others now. Bring the old ones back.'
    )
  return state.params


def build_features(
  config: ConfigDict, model: Clip
) -> Callable[[dict, EvaluationSplit], Features]:
  """`features(params, split)` of parameters on the host, for a run that has ended.

  There may be other devices here than in training: what they divide is no matter.
  """
  mesh = make_mesh(fsdp=math.gcd(config.mesh.fsdp, len(jax.devices())))
  batch_size = mesh.size * math.ceil(config.evaluation.batch_size / mesh.size)
  features_of = make_features(model, mesh=mesh, batch_size=batch_size)

  def features(params, split):
    placed = jax.device_put(params, tree_shardings(params, mesh=mesh))
    return features_of(placed, split)

  return features
