"""The one exception that is a message to the user and not a defect."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
  """A mistake of the user: says what was expected, what was found, what to do.

  Command lines print it alone, without a traceback, and exit with code 2.
  """


def expect(right: bool, field: str, expected: str, *, found) -> None:
  """Raises UserError about a field of the config, unless `right`."""
  if not right:
    raise UserError(
      f'{field}: expected {expected}; found {found!r}. Set --config.{field}=VALUE.'
    )


def expect_one_of(choices: Iterable[str], field: str, *, found: str) -> None:
  """Raises UserError where a field of the config has none of its values."""
  expect(found in choices, field, f'one of {", ".join(choices)}', found=found)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
  """` Did you mean X?`, of the choice that resembles `word` most; '' for none."""
  near = difflib.get_close_matches(word, list(choices), n=1)
  return f' Did you mean {near[0]}?' if near else ''
