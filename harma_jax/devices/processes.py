"""Several processes as one run: who starts them, and that they agree."""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

import harma_jax
from harma_jax.errors import UserError

AGREE_EVERY = 10  # steps: several processes wait for their devices to agree
LEAVE_WITHIN = 5  # seconds in which a process that failed waits for the others

_FLAGS = ('coordinator', 'num_processes', 'process_id')
_ALONE = 'To run as one process: --num_processes=1.'
_BY_FLAGS = 'Give --coordinator=HOST:PORT --num_processes=N --process_id=I.'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
  """How this process joins the others.

  Attributes:
    told_by: what says that there are others.
    detection: the name of jax's own way to find what is None below; `deactivate`
      where nothing is.
    coordinator: HOST:PORT of the first process.
    num_processes: of the run.
    process_id: counted from 0.
  """

  told_by: str
  detection: str
  coordinator: str | None = None
  num_processes: int | None = None
  process_id: int | None = None


def decide(
  flags: Mapping[str, str | int | None], environ: Mapping[str, str]
) -> Start | None:
  """Whether this process is one of several, and what tells so.

  Flags come before the environment: Open MPI, Slurm, a TPU of several hosts on GKE
  (JobSet), a Cloud TPU machine, in this order.

  Args:
    flags: `coordinator` (HOST:PORT), `num_processes`, `process_id`; None where not
      given. Only `num_processes=1` may stand alone: a run of one process wherever.
    environ: the environment after jax was imported.

  Returns:
    None for a run of one process.

  Raises:
    UserError: flags that do not fit together; an environment that names several
      processes and does not say where they are.
  """
  given = {name: flags[name] for name in _FLAGS if flags.get(name) is not None}
  if given == {'num_processes': 1}:
    return None
  if given:
    return _from_flags(given)
  for read in (_from_open_mpi, _from_slurm, _from_tpu_hosts, _from_tpu_machine):
    start = read(environ)
    if start:
      return start
  return None


def _from_flags(given: dict) -> Start:
  missing = [f'--{name}' for name in _FLAGS if name not in given]
  if missing:
    raise UserError(
      f'Expected --{", --".join(_FLAGS)} together, or --num_processes=1 alone; found '
      f'no {", ".join(missing)}.'
    )
  host, _, port = given['coordinator'].rpartition(':')
  if not host or not port.isdecimal():
    raise UserError(
      '--coordinator: expected HOST:PORT of the first process, as in '
      f'--coordinator=10.0.0.2:8476; found {given["coordinator"]!r}.'
    )
  number, count = given['process_id'], given['num_processes']
  if not 0 <= number < count:
    raise UserError(
      f'--process_id: expected 0 to {count - 1} for --num_processes={count}; found '
      f'{number}.'
    )
  return Start(told_by='flags', detection='deactivate', **given)


def _from_open_mpi(environ: Mapping[str, str]) -> Start | None:
  count = int(environ.get('OMPI_COMM_WORLD_SIZE', 1))
  if count == 1:
    return None
  # Open MPI 5 no longer tells its processes where the first one is.
  if 'OMPI_MCA_orte_hnp_uri' not in environ:
    raise UserError(
      f'Expected OMPI_MCA_orte_hnp_uri beside OMPI_COMM_WORLD_SIZE={count}; this Open '
      f'MPI does not set it. {_BY_FLAGS} See docs/launching.md.'
    )
  return Start(told_by='Open MPI', detection='ompi', num_processes=count)


def _from_slurm(environ: Mapping[str, str]) -> Start | None:
  count = int(environ.get('SLURM_NTASKS', 1))
  if count == 1 or environ.get('SLURM_STEP_NUM_TASKS') == '1':
    return None
  if 'SLURM_STEP_NODELIST' not in environ:
    raise UserError(
      f'Expected a start by srun in this Slurm job of {count} tasks; found none '
      f'(SLURM_STEP_NODELIST is not set). Put srun before python. {_ALONE}'
    )
  return Start(told_by='Slurm', detection='slurm', num_processes=count)


def _from_tpu_hosts(environ: Mapping[str, str]) -> Start | None:
  if not _uses_tpu(environ):
    return None
  hosts = environ.get('TPU_PROCESS_ADDRESSES') or environ.get('TPU_WORKER_HOSTNAMES')
  count = len((hosts or '').split(',')) * int(environ.get('MEGASCALE_NUM_SLICES') or 1)
  if not hosts or count == 1:
    return None
  return Start(told_by='TPU host names', detection='gketpu', num_processes=count)


def _from_tpu_machine(environ: Mapping[str, str]) -> Start | None:
  # Where jax finds TPU chips it sets the first when imported; where the machine has no
  # metadata to ask, the second is set. A machine with host names has been asked.
  machine = 'TPU_ML_PLATFORM' in environ and 'TPU_SKIP_MDS_QUERY' not in environ
  named = environ.get('TPU_PROCESS_ADDRESSES') or environ.get('TPU_WORKER_HOSTNAMES')
  if not machine or named or not _uses_tpu(environ):
    return None
  return Start(told_by='TPU metadata', detection='gcetpu')


def _uses_tpu(environ: Mapping[str, str]) -> bool:
  return 'tpu' in (environ.get('JAX_PLATFORMS') or 'tpu').split(',')


def initialize(start: Start, *, timeout: int, loss_timeout: int) -> None:
  """Joins the other processes; to be called before jax touches a device.

  Args:
    start: of `decide`.
    timeout: seconds until all must be there.
    loss_timeout: seconds after which a process that is silent, or does not come to the
      end, ends the others.

  Raises:
    UserError: jax finds no way to the others, or another number of them than was told.
      Where they do not come in time jax aborts the process (exit code 134 in a shell).
  """
  # Said before: an abort leaves no chance to.
  logging.info(
    'expecting %s processes (told by %s) within %d s. %s',
    *(start.num_processes or 'all', start.told_by, timeout, _ALONE),
  )
  # Its handler would swallow a SIGTERM that comes before training takes signals.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      coordinator_address=start.coordinator,
      num_processes=start.num_processes,
      process_id=start.process_id,
      cluster_detection_method=start.detection,
      initialization_timeout=timeout,
      heartbeat_timeout_seconds=loss_timeout,
      shutdown_timeout_seconds=loss_timeout,
    )
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(_not_met(start, str(error), timeout=timeout)) from error
  count = jax.process_count()
  if start.num_processes not in (None, count):
    raise UserError(_not_met(start, f'{count} processes are there', timeout=timeout))


def _not_met(start: Start, reason: str, *, timeout: int) -> str:
  count = start.num_processes or 'all'
  where = f' at {start.coordinator}' if start.coordinator else ''
  return (
    f'Expected {count} processes (told by {start.told_by}) to meet{where} within '
    f'{timeout} s; found: {reason.splitlines()[0]}. Check that each was started and '
    f'reaches the first. {_BY_FLAGS} {_ALONE}'
  )


def agree(values: Mapping[str, str]) -> None:
  """Checks that all processes have the same values; all of them must call it.

  A hash is compared; the values travel only where it differs.

  Raises:
    UserError: they do not, in each process; names the values.
  """
  text = json.dumps(dict(values), sort_keys=True)
  hashes = _gather(hashlib.sha256(text.encode()).digest())
  if len(set(hashes)) == 1:
    return
  raise UserError(difference([json.loads(text) for text in _gather(text.encode())]))


def difference(of_processes: Sequence[Mapping[str, str]]) -> str:
  """The message about values that are not the same in each process."""
  names = sorted(set().union(*of_processes))
  found = []
  for name in names:
    values = [values.get(name, '(none)') for values in of_processes]
    other = next((i for i, value in enumerate(values) if value != values[0]), None)
    if other is not None:
      found.append(f'{name}: {values[0]} in process 0, {values[other]} in {other}')
  return (
    f'Expected the same in all {len(of_processes)} processes; found '
    f'{"; ".join(found)}. Start all with the same command, code and data.'
  )


def maximum(value: int) -> int:
  """The largest of the processes' values; all of them must call it.

  Waits until the devices have done what they were given.
  """
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def agreed(number: int | None, *, step: int, before: int) -> int | None:
  """The signal for which all processes stop before step number `step`.

  Args:
    number: of the signal that came to this process, or None.
    step: the same in all processes, each of which asks wherever the others do.
    before: at which step it asked last.
  """
  if jax.process_count() == 1:
    return number
  if step // AGREE_EVERY == before // AGREE_EVERY:
    return None
  return maximum(number or 0) or None


def of_first(values: np.ndarray) -> np.ndarray:
  """The first process's values, of the same shape in each; all must call it."""
  return multihost_utils.broadcast_one_to_all(values)


def leave_soon(code: int) -> bool:
  """Lets a process that failed end with `code` though the others have not.

  At its end a process waits for the others: where all failed alike they meet at once;
  where one did, they wait for it in turn. A run of one process is left as it is.

  Returns:
    At once, and whether there are others.
  """
  if not jax.distributed.is_initialized():
    return False
  timer = threading.Timer(LEAVE_WITHIN, os._exit, [code])
  timer.daemon = True
  timer.start()
  return True


def code_version() -> str:
  """Versions of this package and of jax, and a hash of this package's source.

  Configs are not of it: their fields are compared, and a checkout has them elsewhere.
  """
  folder = pathlib.Path(harma_jax.__file__).parent
  source = hashlib.sha256()
  files = (path for path in folder.rglob('*.py') if path.parent.name != 'configs')
  for path in sorted(files):
    source.update(f'{path.relative_to(folder)}\0'.encode() + path.read_bytes())
  version = f'harma_jax {harma_jax.__version__}, jax {jax.__version__}'
  return f'{version}, source {source.hexdigest()[:12]}'


def _gather(content: bytes) -> list[bytes]:
  """The contents of all processes, of any lengths, in their order."""
  lengths = multihost_utils.process_allgather(np.int32(len(content)))
  padded = np.zeros(lengths.max(), np.uint8)
  padded[: len(content)] = np.frombuffer(content, np.uint8)
  rows = multihost_utils.process_allgather(padded)
  return [
    row[:length].tobytes() for row, length in zip(rows, lengths.ravel(), strict=True)
  ]
