"""Requests to stop reach who waits for them, and only as long."""

import contextlib
import signal

import pytest

from harma_jax.devices.stop import interruptible


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_a_library_swallows_is_raised_again(number):
  before = signal.getsignal(number)
  with interruptible('Nothing') as check:
    check()
    with contextlib.suppress(KeyboardInterrupt):
      signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt, match='Nothing'):
      check()
  assert signal.getsignal(number) is before
