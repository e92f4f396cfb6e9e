"""Where the page listens by default."""

LOOPBACK = '127.0.0.1'  # this machine alone
