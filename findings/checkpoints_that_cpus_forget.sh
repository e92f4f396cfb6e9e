#!/usr/bin/env bash
# On a CPU jax.checkpoint saves memory in scanned layers and nothing in unrolled ones.
#
# One would guess that a checkpointed layer keeps its input alone, however the layers are repeated: by
# default jax.checkpoint puts barriers around what is computed again (`prevent_cse=True`), so that the
# compiler does not find it equal to what was computed before. XLA for CPUs drops the barriers before it
# looks for equal expressions: a Python loop over layers, and a scan that is unrolled, keep all, as if
# nothing had been asked. A scan holds its body apart, and there the memory falls to less than a third.
#
# It matters where a model that does not fit is made to by `remat` and unrolled for speed in the same
# config, and where the memory that a step needs is tried on a CPU before it is run elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2
cat > "$folder/run.py" <<'PY'
import jax
import jax.numpy as jnp

ROWS, WIDTH, INSIDE, LAYERS = 4096, 256, 1024, 8


def layer(x, weights):
  first, second = weights
  return x + jnp.tanh(jnp.sin(x @ first) * 2) @ second


def looped(layer):
  def loss(weights, x):
    for number in range(LAYERS):
      x = layer(x, jax.tree.map(lambda array: array[number], weights))
    return jnp.sum(x * x)

  return loss


def scanned(layer, unroll):
  def loss(weights, x):
    x, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, weights, unroll=unroll)
    return jnp.sum(x * x)

  return loss


def megabytes(loss):
  weights = jnp.zeros((LAYERS, WIDTH, INSIDE)), jnp.zeros((LAYERS, INSIDE, WIDTH))
  lowered = jax.jit(jax.grad(loss)).lower(weights, jnp.zeros((ROWS, WIDTH)))
  return round(lowered.compile().memory_analysis().temp_size_in_bytes / 1e6)


print('jax', jax.__version__, 'on', jax.devices()[0].platform)
forms = {
  'a loop': looped,
  'a scan, unrolled': lambda layer: scanned(layer, LAYERS),
  'a scan': lambda layer: scanned(layer, 1),
}
shares = {}
for name, form in forms.items():
  kept, checkpointed = megabytes(form(layer)), megabytes(form(jax.checkpoint(layer)))
  shares[name] = checkpointed / kept
  print(f'{name}: {kept} MB of temporaries, {checkpointed} with jax.checkpoint')
assert shares['a loop'] > 0.95 and shares['a scan, unrolled'] > 0.95, shares
assert shares['a scan'] < 0.33, shares
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/run.py"
