"""The one exception that is a message to the user and not a defect."""


class UserError(Exception):
  """A mistake of the user: says what was expected, what was found, what to do.

  Command lines print it alone, without a traceback, and exit with code 2.
  """
