"""Eight virtual devices, strict ranks, toy models, and the folders with real data."""

import contextlib
import gc
import io
import json
import os
import pathlib
import string
import subprocess
import sys

import jax
import numpy as np
import pytest
import tokenizers
from absl import flags
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

# Tests compile much and compute little: a sixth of the compile time, the same results.
COMPILE_FAST = (
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
  '--xla_cpu_parallel_codegen_split_count=1',
  # XLA ends a process that gives it a flag that it does not know.
  *(('--xla_cpu_use_fusion_emitters=false',) if jax.__version_info__ < (0, 11) else ()),
)
# XLA aborts the process where a device waits longer for the others; 60 s by default,
# which eight devices on two busy cores have exceeded.
WAIT_LONG = (
  '--xla_cpu_collective_call_warn_stuck_timeout_seconds=60',
  '--xla_cpu_collective_call_terminate_timeout_seconds=180',
)
XLA_FLAGS = ' '.join([*COMPILE_FAST, *WAIT_LONG])
# More threads than devices: collectives that wait take one each.
os.environ.setdefault('PJRT_NPROC', '16')
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {XLA_FLAGS}'
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
flags.FLAGS.mark_as_parsed()

from harma_jax.configs.common import get_config  # noqa: E402, after the settings
from harma_jax.data.builders.prepare import prepare  # noqa: E402
from harma_jax.devices.absent import ENVIRONMENT, compiler_of  # noqa: E402
from harma_jax.devices.targets import read_topology  # noqa: E402
from harma_jax.model.adapter import AdapterSettings  # noqa: E402
from harma_jax.model.clip import Clip  # noqa: E402
from harma_jax.model.families import CLIP, SIGLIP  # noqa: E402
from harma_jax.model.sizes import SIZES, Size, TowerSize  # noqa: E402
from harma_jax.training.loop import train  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# What is imported stays, and looking through all of jax's objects takes a twentieth of
# the tests' time: it is done less often.
gc.freeze()
gc.set_threshold(50_000, 20, 50)


def _folder(*, variable: str, default: str) -> pathlib.Path:
  folder = pathlib.Path(os.environ.get(variable, REPOSITORY / default))
  if not folder.is_dir():
    pytest.skip(f'no folder {folder}: set {variable} to the folder that holds it')
  return folder


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
  """Folder with `rsicd/` and `rsitmd_sample/`; research data, not distributed."""
  return _folder(variable='HARMA_DATA', default='../shared/data')


@pytest.fixture(scope='session')
def reference_dir() -> pathlib.Path:
  """Folder with the golden arrays of the original implementation."""
  return _folder(variable='HARMA_REFERENCE', default='../shared/reference')


@pytest.fixture(scope='session')
def environment(tmp_path_factory):
  """Of programs that tests start: one device; compiled fast, and kept for the next."""
  return os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': XLA_FLAGS,
    'JAX_COMPILATION_CACHE_DIR': str(tmp_path_factory.mktemp('compiled')),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'PYTHONPATH': str(REPOSITORY),
  }


@pytest.fixture(scope='session')
def run_with_libtpu():
  """`run_with_libtpu(*words)`: a Python program that compiles for TPUs not there."""
  if compiler_of(read_topology('v5e:2x2')) is None:
    pytest.skip("no libtpu: pip install 'harma_jax[tpu]'")

  def run(*words):
    environment = os.environ | ENVIRONMENT | {'PYTHONPATH': str(REPOSITORY)}
    command = [sys.executable, *words]
    settings = {'cwd': REPOSITORY, 'capture_output': True, 'text': True, 'timeout': 170}
    ran = subprocess.run(command, env=environment, **settings)
    assert ran.returncode == 0, ran.stderr
    return ran

  return run


@pytest.fixture(scope='session')
def make_clip():
  """`make_clip(image_layers=2, text_layers=2, activation='gelu', **of_clip)`, a toy."""

  def make(
    *, image_layers=2, text_layers=2, activation='gelu', family=CLIP, **settings
  ):
    size = Size(
      image=TowerSize(width=16, layers=image_layers, heads=2),
      text=TowerSize(width=12, layers=text_layers, heads=3),
      image_size=16,
      patch_size=8,
      embedding=16 if family is SIGLIP else 8,
      activation=activation,
      context_length=7,
      vocabulary=50,
      family=family,
      logit_bias=family is SIGLIP,
    )
    adapter = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)
    return Clip(**{'size': size, 'adapter': adapter} | settings)

  return make


@pytest.fixture(scope='session')
def random_params():
  """`random_params(clip, seed=0)`: random content, no zeros to hide behind."""

  def fill(path, leaf, rng):
    name = path[-1].key
    if name == 'temperature':
      return jax.numpy.float32(0.07)
    deviation = leaf.shape[-2] ** -0.5 if name == 'kernel' else 0.3
    noise = rng.normal(0, deviation, leaf.shape)
    return jax.numpy.asarray(noise + (name == 'scale'), np.float32)

  def make(clip, *, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(clip.init, jax.random.key(0))
    return jax.tree.map_with_path(lambda path, leaf: fill(path, leaf, rng), shapes)

  return make


@pytest.fixture(scope='session')
def toy_batch():
  """Eight pairs for the toys: images u8, tokens of 3 to 7 words, some images twice."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, 48, (8, 7)).astype(np.int32)
  for row, length in zip(tokens, (3, 4, 5, 7, 4, 6, 5, 3), strict=True):
    row[0], row[length - 1], row[length:] = 48, 49, 0
  return {
    'images': rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8),
    'tokens': tokens,
    'image_ids': np.array([0, 1, 2, 0, 3, 4, 4, 5], np.int32),
    'rows': np.arange(8, dtype=np.int32),
  }


@pytest.fixture(scope='session')
def write_data():
  """`write_data(folder)`: 12 images of 32 px to train, 6 each for val and test."""

  def write(folder):
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    rows = []
    for split, n_images in {'train': 12, 'val': 6, 'test': 6}.items():
      for name in (f'{split}_{i}.png' for i in range(n_images)):
        pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / name)
        for things in ('fields', 'boats on a river'):
          caption = f'{name[:-4]} shows {things}'
          rows.append({'image': name, 'caption': caption, 'split': split})
    lines = (json.dumps(row) + '\n' for row in rows)
    (folder / 'captions.jsonl').write_text(''.join(lines))
    return folder

  return write


@pytest.fixture(scope='session')
def small_data(write_data, tmp_path_factory):
  """A data set of `write_data`; not to be changed."""
  return write_data(tmp_path_factory.mktemp('data') / 'small')


@pytest.fixture(scope='session')
def prepared_data(small_data, tmp_path_factory):
  """`small_data` prepared; not to be changed."""
  out = tmp_path_factory.mktemp('prepared') / 'out'
  prepare(small_data, out, dataset='captions', threads=2)
  return out


def _set_compilation_cache(settings):
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture(scope='session', autouse=True)
def keep_compiled(tmp_path_factory):
  """What is compiled for one test is read from a folder by the next."""
  settings = {
    'jax_compilation_cache_dir': str(tmp_path_factory.mktemp('compiled')),
    'jax_persistent_cache_min_compile_time_secs': 0.0,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  _set_compilation_cache(settings)
  yield
  _set_compilation_cache(before)


SMALL_RUN = {
  'model.size': 'toy',
  'model.adapters': 'none',
  'model.bottleneck': 8,
  'model.shared_bottleneck': 8,
  'objective.triplet_weight': 0.0,
  'optimizer.train': 'projection',
  'optimizer.learning_rate': 0.02,
  'train.epochs': 2.0,
  'train.batch_size': 8,
  'data.threads': 1,
  'data.cleaning': 'released',  # of `train_3 shows fields` all signs stay
  'evaluation.batch_size': 8,
  'log_every': 1,
}


@pytest.fixture(scope='session')
def small_config(small_data):
  """`small_config({'train.epochs': 1.0})`: six steps of two projections, changed."""
  tower = TowerSize(width=16, layers=2, heads=2)
  SIZES['toy'] = Size(
    image=tower,
    text=tower,
    image_size=16,
    patch_size=8,
    embedding=16,
    activation='gelu',
    context_length=8,
  )

  def make(changes=None):
    config = get_config()
    fields = SMALL_RUN | {'data.root': str(small_data)} | (changes or {})
    config.update_from_flattened_dict(fields)
    return config.lock()

  yield make
  del SIZES['toy']


@pytest.fixture(scope='session')
def write_tokenizer():
  """`write_tokenizer(folder, version=2, size=60)`: tokenizer.json as SigLIP's is built.

  Version 1 is a unigram model with `</s>`, 2 byte pairs with `<pad>` and `<eos>`; both
  of single letters and of `boat`.
  """

  def of_unigrams(size):
    words = [
      ('<pad>', 0.0),
      ('</s>', 0.0),
      ('<unk>', 0.0),
      ('▁', -3.0),
      ('▁boat', -1.0),
    ]
    words += [(letter, -4.0) for letter in string.ascii_lowercase]
    words += [(f'filler{n}', -99.0) for n in range(size - len(words))]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(words, unk_id=2))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return made, ['<pad>', '</s>', '<unk>'], '</s>'

  def of_pairs(size):
    special = ['<pad>', '<eos>', '<bos>', '<unk>']
    merges = [('b', 'o'), ('bo', 'a'), ('boa', 't'), ('▁', 'boat')]
    words = [*special, '▁', *string.ascii_lowercase, *(a + b for a, b in merges)]
    words += [f'<unused{n}>' for n in range(size - len(words))]
    ids = {word: number for number, word in enumerate(words)}
    model = tokenizers.models.BPE(ids, merges, unk_token='<unk>', fuse_unk=True)
    made = tokenizers.Tokenizer(model)
    made.normalizer = tokenizers.normalizers.Replace(' ', '▁')
    return made, special, '<eos>'

  def write(folder, *, version=2, size=60):
    made, special, end = of_unigrams(size) if version == 1 else of_pairs(size)
    made.add_special_tokens(special)
    made.post_processor = tokenizers.processors.TemplateProcessing(
      single=f'$A {end}', special_tokens=[(end, made.token_to_id(end))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / 'tokenizer.json'))
    return folder

  return write


@pytest.fixture(scope='session')
def finished_run(small_config, tmp_path_factory):
  """The folder of a finished run of `small_config()`, with `stdout.txt` beside it."""
  workdir = tmp_path_factory.mktemp('finished') / 'run'
  with contextlib.redirect_stdout(io.StringIO()) as stdout:
    train(small_config(), workdir=workdir)
  (workdir.parent / 'stdout.txt').write_text(stdout.getvalue())
  return workdir
