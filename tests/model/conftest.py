"""Slow float64 references of the parts that several tests of the model share."""

import math

import numpy as np
import pytest


def dense(p, x):
  return x @ p['kernel'] + p['bias']


def gelu(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def attention(p, x, *, heads, allowed):
  """One row [L, width]; `allowed` bool[L, L]: which key each query may attend to."""
  query, key, value = np.split(dense(p['qkv'], x), 3, axis=-1)
  attended = np.zeros_like(x)
  size = x.shape[1] // heads
  for head in range(heads):
    part = slice(head * size, (head + 1) * size)
    for i, seen in enumerate(allowed):
      weights = np.exp(key[seen, part] @ query[i, part] / math.sqrt(size))
      attended[i, part] = weights @ value[seen, part] / weights.sum()
  return dense(p['out'], attended)


def shared_adapter(p, a, *, heads, allowed):
  """S(a) of METHOD 1 for one row."""
  gate = sigmoid(p['shared_gate'])
  y = dense(p['down'], a)
  mixed = attention(p['attention'], y, heads=heads, allowed=allowed)
  return a + dense(p['up'], gate * mixed + (1 - gate) * y)


def adapter(p, h, *, shared, heads, allowed):
  """A(h) of METHOD 1 for one row; `shared` None: without S."""
  gate = sigmoid(p['adapter_gate'])
  z = gelu(dense(p['down'], h))
  a = attention(p['attention'], z, heads=heads, allowed=allowed)
  if shared is not None:
    a = shared_adapter(shared, a, heads=heads, allowed=allowed)
  a = attention(p['attention'], a, heads=heads, allowed=allowed)
  return h + dense(p['up'], gate * z + (1 - gate) * a)


@pytest.fixture(scope='session')
def slow():
  """The functions above by name."""
  return {
    'dense': dense,
    'gelu': gelu,
    'sigmoid': sigmoid,
    'attention': attention,
    'shared_adapter': shared_adapter,
    'adapter': adapter,
  }
