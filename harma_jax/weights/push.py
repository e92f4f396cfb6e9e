"""An export into a repository of the Hugging Face hub."""

import pathlib

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from harma_jax.errors import UserError
from harma_jax.weights.export import CARD_FILE


def check_repository(name: str) -> None:
  """Raises UserError where a name is no `USER/NAME` of the hub."""
  try:
    validate_repo_id(name)
    fits = name.count('/') == 1
  except HFValidationError:
    fits = False
  if not fits:
    raise UserError(
      '--push: expected a repository of the Hugging Face hub, USER/NAME; found '
      f'{name!r}.'
    )


def push(out: pathlib.Path, *, repository: str) -> str:
  """Uploads an export, and its card as README.md, in one commit.

  The repository is made where there is none; files that it has besides stay.

  Args:
    out: the folder, or the file with its card beside it.
    repository: `USER/NAME`.

  Returns:
    The address of the commit.

  Raises:
    UserError: the hub cannot be reached, or refuses it.
  """
  files = {path.name: path for path in out.iterdir()} if out.is_dir() else {}
  if not files:
    files = {out.name: out, CARD_FILE: out.with_name(f'{out.name}.md')}
  operations = [
    huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
    for name, path in sorted(files.items())
  ]
  api = huggingface_hub.HfApi()
  try:
    api.create_repo(repository, exist_ok=True)
    done = api.create_commit(
      repository, operations, commit_message=f'Add {out.name}, written by harma_jax'
    )
  # What a network, a proxy or the hub may raise is one of many.
  except Exception as error:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(
      f'--push={repository}: expected a hub that takes {out}; found: '
      f'{reason.rstrip(".")}. The export itself is whole. Log in with `hf auth login` '
      f'and a token that may write, then: hf upload {repository} {out}'
    ) from error
  return done.commit_url
