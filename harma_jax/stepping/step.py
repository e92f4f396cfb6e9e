"""The train step: the only place where model, objective and optimizer meet."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from harma_jax.data.images import normalize
from harma_jax.devices.mesh import batch_sharding, replicated, tree_shardings
from harma_jax.model.clip import Clip
from harma_jax.objective.harmonize import Embeddings, Products, products_of
from harma_jax.objective.head import Head, Headed
from harma_jax.objective.logits import Logits
from harma_jax.stepping.microbatch import at_once
from harma_jax.stepping.optim import bound_temperature, merge_params, updates_made


@flax.struct.dataclass
class TrainState:
  """Everything that a step reads and writes.

  Attributes:
    step: i32[], steps taken; `~steps`, below 0, where the next one failed (`guard`).
    trainable: the subtree that gradients are taken of.
    frozen: the rest of the parameters; no gradient, no optimizer state.
    optimizer_state: of the trainable subtree.
    curriculum: f32[n_captions] each: the sum of the cosines that harmonization found
      for a training caption (`cosine_sum`), how often it was `seen` and `dropped`;
      empty without harmonization.
  """

  step: jax.Array
  trainable: dict
  frozen: dict
  optimizer_state: optax.OptState
  curriculum: dict[str, jax.Array]

  @property
  def params(self) -> dict:
    """The whole parameter tree."""
    return merge_params(self.trainable, self.frozen)


def init_state(
  trainable: dict,
  frozen: dict,
  *,
  optimizer: optax.GradientTransformation,
  curriculum_size: int = 0,
) -> TrainState:
  """The state before the first step; `curriculum_size` captions are kept account of."""
  accounts = ('cosine_sum', 'seen', 'dropped') if curriculum_size else ()
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    trainable=trainable,
    frozen=frozen,
    # At once: one program instead of one for each shape.
    optimizer_state=jax.jit(optimizer.init)(trainable),
    curriculum={name: jnp.zeros(curriculum_size) for name in accounts},
  )


def make_train_step(
  model: Clip,
  head: Head,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  *,
  over_rows: Callable = at_once,
  weight_space_chunk: int = 0,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """Builds the pure step `(state, batch) -> (state, metrics)`.

  The towers run forward once and backward once, whatever the head does between; unless
  `over_rows` takes them over a part of the batch at a time (see `make_in_parts`), or
  `weight_space_chunk` lets the head measure angles over the trainable weights, so many
  samples at a time (see `weight_products`).

  The batch is global: `images` u8[B, side, side, 3], `tokens` i32[B, L] or, with
  several captions an image, i32[B, M, L], `image_ids` i32[B], and `rows` i32[B] or
  i32[B, M], the captions' numbers. With `own` i32[B] there are fewer images than pairs,
  and it is the place of a pair's (not with `weight_space_chunk`). The metrics are the
  head's and, f32[], `gradient_norm` of the trainable leaves and the `temperature`, the
  `logit_bias` where there is one, and the `learning_rate` that the step used.
  """

  def step(state, batch):
    tokens = batch['tokens']
    tokens = tokens if tokens.ndim == 3 else tokens[:, None]
    inputs = batch['images'], tokens

    def features(trainable):
      params = merge_params(trainable, state.frozen)
      images, *captions = encode_samples(
        model, params, *inputs, own=batch.get('own'), over_rows=over_rows
      )
      return images, tuple(captions), logits_of(params)

    products = None
    if weight_space_chunk:
      products = weight_products(
        lambda trainable, *inputs: encode_samples(
          model, merge_params(trainable, state.frozen), *inputs
        ),
        state.trainable,
        inputs,
        chunk=weight_space_chunk,
      )
    embeddings, pull_back = jax.vjp(features, state.trainable)
    headed = head(*embeddings, batch['image_ids'], state.step, products)
    made = updates_made(state.optimizer_state, default=state.step)
    (gradients,) = pull_back(headed.cotangents)
    updates, optimizer_state = optimizer.update(
      gradients, state.optimizer_state, state.trainable
    )
    metrics = {
      **headed.metrics,
      **own_text_metrics(headed.cosine, tokens),
      'gradient_norm': optax.tree.norm(gradients),
      **_scalars(embeddings[2]),
      'learning_rate': jnp.asarray(schedule(made), jnp.float32),
    }
    state = state.replace(
      step=state.step + 1,
      trainable=bound_temperature(optax.apply_updates(state.trainable, updates)),
      optimizer_state=optimizer_state,
      curriculum=_account(state.curriculum, headed, batch['rows']),
    )
    return state, metrics

  return step


def guard(step: Callable, *, halt: bool) -> Callable:
  """`step` that changes no weights where its loss or its gradient is not finite.

  The optimizer's state and the curriculum stay too. All on the device: nobody waits.

  Args:
    step: of `make_train_step`.
    halt: the state takes no further step, and says so by its negative `step`. Otherwise
      the step counts as taken; the metric `skipped` i32[] has all that made no update.
  """

  def guarded(state, batch):
    after, metrics = step(state, batch)
    finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(metrics['gradient_norm'])
    takes = finite & (state.step >= 0)
    kept = {
      name: jax.tree.map(
        lambda new, old: jnp.where(takes, new, old),
        getattr(after, name),
        getattr(state, name),
      )
      for name in ('trainable', 'optimizer_state', 'curriculum')
    }
    made = updates_made(kept['optimizer_state'], default=after.step)
    halted = jnp.minimum(state.step, ~state.step)
    number = jnp.where(takes, after.step, halted) if halt else after.step
    metrics = metrics | {'skipped': after.step - made}
    return after.replace(step=number, **kept), metrics

  return guarded


def logits_of(params: dict) -> Logits:
  """The scalars of a parameter tree that make logits of similarities."""
  return Logits(params['temperature'], params.get('logit_bias'))


def _scalars(logits: Logits) -> dict[str, jax.Array]:
  bias = {} if logits.bias is None else {'logit_bias': logits.bias}
  return {'temperature': logits.temperature, **bias}


def encode_samples(
  model: Clip,
  params: dict,
  images: jax.Array,
  tokens: jax.Array,
  *,
  own: jax.Array | None = None,
  over_rows: Callable = at_once,
) -> tuple[jax.Array, ...]:
  """The embeddings of B images u8 and of each of their M captions i32[B, M, L].

  M + 1 arrays f32[B, D], unit rows. With `own` i32[B] sample i has image `own[i]`. The
  towers are called by `over_rows(encode, rows)`, which gives `encode(rows)`.
  """

  def encode_images(images):
    seen = normalize(images, **model.size.preprocessing.normalisation)
    return model.encode_image(params, seen)

  def encode_captions(tokens):
    texts = model.encode_text(params, tokens.reshape(-1, tokens.shape[-1]))
    return texts.reshape(*tokens.shape[:2], -1)

  texts = over_rows(encode_captions, tokens)
  captions = (texts[:, caption] for caption in range(tokens.shape[1]))
  features = over_rows(encode_images, images)
  return features if own is None else features[own], *captions


def weight_products(
  encode: Callable, trainable: dict, inputs: tuple, *, chunk: int
) -> Callable[[list[Embeddings]], Products]:
  """Builds what measures gradients of samples over the trainable weights, exactly.

  The gradient of sample i is `J_i^T c_i`: its embeddings' cotangents pulled back to the
  weights. The sum over the samples is the gradient of the loss. Every sample is encoded
  again and its K cotangents are pulled back one by one: about 1 + 2 K further passes
  through the towers, and `4 * (K + 1) * chunk` bytes a trainable weight besides the
  activations of `chunk` samples.

  Args:
    encode: `(trainable, *inputs) -> embeddings`, row i of row i of the inputs alone.
    trainable: the weights.
    inputs: arrays of B rows.
    chunk: samples that are pulled back together.

  Returns:
    A function from K gradients, each a tuple of f32[B, D] an embedding, to f32[K, B].
  """

  def products(gradients):
    cotangents = jax.tree.map(lambda *rows: jnp.stack(rows, axis=1), *gradients)
    found = jax.lax.map(of_sample, (inputs, cotangents), batch_size=chunk)
    return jax.tree.map(jnp.transpose, found)

  def of_sample(sample):
    inputs, cotangents = jax.tree.map(lambda leaf: leaf[None], sample)
    _, pull_back = jax.vjp(lambda weights: encode(weights, *inputs), trainable)
    pulled = jax.vmap(lambda rows: pull_back(rows)[0], in_axes=1)(cotangents)
    leaves = jax.tree.leaves(pulled)
    return products_of(
      jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    )

  return products


def own_text_metrics(
  cosine: jax.Array | None, tokens: jax.Array
) -> dict[str, jax.Array]:
  """Of captions whose text no other caption of their image has in the batch.

  Equal captions agree by construction and hide in `conflict_share` what the others do.

  Args:
    cosine: f32[M, B] of the captions, or None.
    tokens: i32[B, M, L].

  Returns:
    `own_text_share` f32[] of all captions, and of these the `own_text_conflict_share`
    f32[] (0 where there are none); nothing for one caption an image or no cosine.
  """
  if cosine is None or tokens.shape[1] == 1:
    return {}
  same = jnp.all(tokens[:, :, None] == tokens[:, None], axis=-1)
  alone = (same.sum(axis=2) == 1).T
  conflicts = jnp.sum(alone & (cosine < 0)) / jnp.maximum(alone.sum(), 1)
  return {'own_text_share': jnp.mean(alone), 'own_text_conflict_share': conflicts}


def _account(curriculum: dict, headed: Headed, rows: jax.Array) -> dict:
  """The running sums of the captions in a batch, brought up to date."""
  if not curriculum:
    return curriculum
  rows = rows.reshape(len(rows), -1).T
  seen = {
    'cosine_sum': headed.cosine,
    'seen': jnp.ones_like(headed.cosine),
    'dropped': 1 - headed.keep,
  }
  return {name: sums.at[rows].add(seen[name]) for name, sums in curriculum.items()}


def compile_step(
  step: Callable,
  state: TrainState,
  *,
  mesh: Mesh,
  inputs: Callable[[dict, dict], dict] | None = None,
  several: bool = False,
) -> Callable:
  """`step` jitted over `mesh`: batch rows sharded, parameters by shape, state donated.

  Args:
    step: `(state, batch) -> (state, metrics)`.
    state: placed by `place_state`.
    mesh: of all devices.
    inputs: makes the step's batch, `inputs(resident, batch)`; the result then takes
      `(state, resident, batch)`, with what is resident as it lies.
    several: the result takes `(state, resident, batches, count)`, see `take_several`.
  """
  shardings = tree_shardings(state, mesh=mesh)
  everywhere, rows = replicated(mesh), batch_sharding(mesh)
  if inputs is None:
    whole, arguments = step, (shardings, rows)
  else:
    whole, arguments = _after(inputs, step), (shardings, None, rows)
  if several:
    whole = take_several(whole)
    arguments = shardings, None, batch_sharding(mesh, axis=1), everywhere
  return jax.jit(
    whole,
    in_shardings=arguments,
    out_shardings=(shardings, everywhere),
    donate_argnums=0,
  )


def take_several(step: Callable) -> Callable:
  """Several steps in one program: `(state, resident, batches, count)`.

  The host starts a program and not each step. How many it takes is data, so that a
  group cut short, by an evaluation or a resume, runs the same program.

  Args:
    step: `(state, resident, batch) -> (state, metrics)`.

  Returns:
    A function of batches stacked along a new first axis, of which the first `count`
    i32[] are taken; the metrics are those of the last step, or of the one that halted.
  """

  def several(state, resident, batches, count):
    def batch_at(i):
      return jax.tree.map(lambda rows: rows[i], batches)

    def take(i, found):
      state, metrics = found
      after, new = step(state, resident, batch_at(i))
      going = state.step >= 0
      metrics = jax.tree.map(lambda *pair: jnp.where(going, *pair), new, metrics)
      return after, metrics

    _, shapes = jax.eval_shape(step, state, resident, batch_at(0))
    none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, count, take, (state, none))

  return several


def _after(inputs: Callable, step: Callable) -> Callable:
  return lambda state, resident, batch: step(state, inputs(resident, batch))


def cast_frozen(state: TrainState, dtype: jnp.dtype) -> TrainState:
  """The state with the weights that do not train in `dtype`; of arrays or of shapes."""

  def cast(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
      return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)
    return leaf.astype(dtype)

  return state.replace(frozen=jax.tree.map(cast, state.frozen))


def place_state(state: TrainState, *, mesh: Mesh) -> TrainState:
  """The state laid out over `mesh`, in buffers of its own (a step donates them)."""
  return jax.jit(
    lambda tree: jax.tree.map(jnp.copy, tree),
    out_shardings=tree_shardings(state, mesh=mesh),
  )(state)
