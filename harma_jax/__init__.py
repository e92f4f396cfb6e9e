"""HarMA adapters and gradient harmonization for remote-sensing image-text retrieval."""

__version__ = '0.1.0'
