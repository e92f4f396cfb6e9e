"""What all command lines share: flags, their help, a user's mistake as one message."""

from harma_jax.cli.parse import no_arguments, parse_flags
from harma_jax.cli.run import RESUMES, Farewell, resuming, run
from harma_jax.cli.shared_flags import (
  answer,
  asks_for_json,
  given,
  read_config_flag,
  shared_flag,
  workdir,
  write_bytes,
  write_json,
  write_text,
)

__all__ = [
  'RESUMES',
  'Farewell',
  'answer',
  'asks_for_json',
  'given',
  'no_arguments',
  'parse_flags',
  'read_config_flag',
  'resuming',
  'run',
  'shared_flag',
  'workdir',
  'write_bytes',
  'write_json',
  'write_text',
]
