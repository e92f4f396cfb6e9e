"""What is said of the state that a run starts with."""

import logging

import jax
import jax.numpy as jnp
import pytest

from harma_jax.training.state import say_vocabulary


@pytest.mark.parametrize(
  ('words', 'said'), [(256_000, '256,000 words, 4.7 GB'), (50, '')]
)
def test_a_large_vocabulary_that_trains_is_said(caplog, words, said):
  table = jax.ShapeDtypeStruct((words, 1152), jnp.float32)
  with caplog.at_level(logging.INFO):
    say_vocabulary({'text': {'token_embedding': table}})
    say_vocabulary({'text': {'head': {}}})
  assert (said in caplog.text) if said else not caplog.text
