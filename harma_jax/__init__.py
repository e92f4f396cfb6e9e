"""HarMA adapters and gradient harmonization for remote-sensing image-text retrieval."""

__version__ = '0.1.0'


def __getattr__(name: str):
  # `import harma_jax` alone must not import jax.
  if name == 'load':
    from harma_jax.api import load

    return load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
