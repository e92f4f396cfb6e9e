"""The model card of exported weights: data, results, training, how to load them."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence

from flax import traverse_util

from harma_jax.data.cleaning import PUNCTUATION
from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.model.families import CLIP
from harma_jax.model.preprocessing import OPENAI, Preprocessing
from harma_jax.model.sizes import Size
from harma_jax.rundir.workdir import without_paths
from harma_jax.weights.formats import ADAPTERS_ALONE, OPSET

_LIBRARIES = {
  'harma': 'harma_jax',
  'adapter': 'harma_jax',
  'open_clip': 'open_clip',
  'huggingface': 'transformers',
  'huggingface-remote': 'transformers',
  'peft': 'peft',
  'onnx': 'onnx',
}

KINDS = {
  'harma': 'with HarMA adapters',
  'lora': 'with LoRA',
  'adaptformer': 'with AdaptFormer',
  'clip_adapter': 'with CLIP-Adapter',
  'none': 'without adapters',
}

_HARMA_PTH = """\
```python
import torch

checkpoint = torch.load('{name}', weights_only=True)
model.load_state_dict(checkpoint['model'], strict=True)  # the original HarMA's model
```"""

_HARMA_SAFETENSORS = """\
```python
from safetensors.torch import load_file

model.load_state_dict(load_file('{name}'), strict=True)  # the original HarMA's model
```"""

_HARMA_AGAIN = """\
Or as a start for harma_jax:

```
python -m harma_jax.main --config=common.py --config.init={name} \\
  --workdir=again \\
  {fields}
```"""

_ADAPTER = """\
On top of the backbone that they were trained on, whose hash stands in
`adapter_config.json` and is checked:

```
python -m harma_jax.main --config=common.py --config.init={base} \\
  --config.adapter={name} --workdir=again \\
  {fields}
```"""

_OPEN_CLIP = """\
```python
import open_clip

folder = 'local-dir:{name}'
model, _, preprocess = open_clip.create_model_and_transforms(folder)
tokenizer = open_clip.get_tokenizer(folder)
```

`preprocess` then resizes the whole image, as in the evaluation above. With the name of
a built-in model and `pretrained='{name}/open_clip_model.safetensors'`, also give
`image_resize_mode='squash'`, or images are cropped."""

_HUGGING_FACE = """\
```python
from transformers import AutoImageProcessor, AutoTokenizer, {model}

model = {model}.from_pretrained('{name}')
processor = AutoImageProcessor.from_pretrained('{name}')
tokenizer = AutoTokenizer.from_pretrained('{name}')
```"""

_PEFT = """\
On top of the backbone that it was trained on, as transformers has it ({base}):

```python
from peft import PeftConfig, PeftModel
from transformers import {model}

backbone = {model}.from_pretrained(
  PeftConfig.from_pretrained('{name}').base_model_name_or_path
)
model = PeftModel.from_pretrained(backbone, '{name}')
```

Or in harma_jax:

```
python -m harma_jax.main --config=common.py --config.init={base} \\
  --config.adapter={name} --workdir=again \\
  {fields}
```"""

_ONNX = """\
```python
import numpy as np
import onnxruntime

images = np.zeros((2, 3, {side}, {side}), np.float32)  # normalised, see below
tokens = np.zeros((2, {length}), np.int64)
session = onnxruntime.InferenceSession('{name}/image.onnx')
[image_features] = session.run(['features'], {{'pixel_values': images}})
session = onnxruntime.InferenceSession('{name}/text.onnx')
[text_features] = session.run(['features'], {{'input_ids': tokens}})
similarity = image_features @ text_features.T
```

Opset {opset}; any number of images or captions at once; features of length 1. Where the
folder has a tokenizer, `transformers.AutoTokenizer.from_pretrained('{name}')` reads it;
captions are filled up to {length} tokens."""

_REMOTE = """\
```python
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

model = AutoModel.from_pretrained('{name}', trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained('{name}')
tokenizer = AutoTokenizer.from_pretrained('{name}')
images = [Image.new('RGB', (256, 256))]  # or yours: Image.open('FILE')
captions = ['many planes are parked beside a runway']
pixels = processor(images, return_tensors='pt')['pixel_values']
tokens = tokenizer(
  captions, padding='max_length', max_length={length}, truncation=True,
  return_tensors='pt',
)
image_features = model.get_image_features(pixels)
text_features = model.get_text_features(tokens['input_ids'])
```

The code that this runs is `modeling_harma.py` of this folder. Captions are filled up
to {length} tokens{padding}."""

_LOADING = {
  'adapter': _ADAPTER,
  'open_clip': _OPEN_CLIP,
  'huggingface': _HUGGING_FACE,
  'huggingface-remote': _REMOTE,
  'peft': _PEFT,
  'onnx': _ONNX,
}


def _constants(seen: Preprocessing) -> str:
  if seen.normalisation == OPENAI.normalisation:
    return "OpenAI's mean and standard deviation"
  return f'mean {seen.mean} and standard deviation {seen.std}'


_INPUT = """\
Images: the whole image resized to {side} x {side} px ({interpolation}, no crop),
normalised with {constants}.

Captions and queries (`data.cleaning={cleaning}`): {how}, {length} tokens.
harma_jax cleans them by itself; for another program, this does it:

{code}"""

_CLEANED = {
  'released': """\
lower case, `-` and `/` as
spaces, without `, . ' ! ? " ( ) * # : ; ~`, at most 30 words""",
  'sound': 'lower case, spaces in\nplace of punctuation',
}

_CLEAN = {
  'released': """\
```python
import re


def clean(caption):
  table = str.maketrans('-/', '  ', ',.\\'!?"()*#:;~')
  caption = caption.lower().translate(table).replace('<person>', 'person')
  caption = re.sub(r'\\s{2,}', ' ', caption).rstrip('\\n').strip(' ')
  return ' '.join(caption.split(' ')[:30])
```""",
  'sound': f"""\
```python
import html
import unicodedata

PUNCTUATION = {PUNCTUATION!a}


def clean(caption):
  caption = html.unescape(html.unescape(caption))
  caption = unicodedata.normalize('NFC', caption).lower()
  return ' '.join(caption.translate(dict.fromkeys(map(ord, PUNCTUATION), ' ')).split())
```""",
}

_LICENSE = """\
Not set. Whoever publishes these weights sets it (`license:` above), as the licences of
the starting weights and of the data set allow."""


def model_card(
  *,
  name: str,
  format: str,
  config: Mapping,
  defaults: Mapping,
  results: Mapping,
  provenance: Mapping,
  counts: Mapping[str, str],
  notes: tuple[str, ...] = (),
  size: Size,
) -> str:
  """The text of a card, in Markdown with YAML before it.

  Args:
    name: of the exported file or folder.
    format: one of `FORMATS`.
    config: of the run, plain nested values.
    defaults: what its fields are unless set; those that differ are listed.
    results: of the run, as in `results.json`; empty where it has not finished.
    provenance: of the starting weights.
    counts: what each split holds, in words.
    notes: sentences that a user of the format must know.
    size: of the model.
  """
  length = config['data']['context_length'] or size.context_length
  cleaning = config['data']['cleaning']
  how = _INPUT.format(
    side=size.image_size,
    interpolation=size.preprocessing.interpolation,
    constants=_constants(size.preprocessing),
    length=length,
    cleaning=cleaning,
    how=_CLEANED[cleaning],
    code=_CLEAN[cleaning],
  )
  shape = {
    'model': 'CLIPModel' if size.family is CLIP else 'SiglipModel',
    'padding': ' with token 0' if size.family is CLIP else ', as in the tokenizer',
    'side': size.image_size,
    'length': length,
    'opset': OPSET,
    'base': without_paths(provenance).get('init') or 'BACKBONE',
  }
  fields = _fields(config, defaults)
  loading = _loading(format, name=name, fields=fields, shape=shape)
  loading = '\n\n'.join([loading, *notes])
  sections = {
    'Data': _data(config, counts),
    'Results': _results(results, test_split=config['data']['test_split']),
    'Training': _training(config, defaults),
    'Starting weights': _json_block(without_paths(provenance)),
    'How to load': loading,
    'Input': how,
    'License': _LICENSE,
  }
  body = '\n\n'.join(f'## {title}\n\n{text}' for title, text in sections.items())
  opening = _opening(config, format=format, size=size)
  return f'{_front_matter(format, size=size)}\n# {name}\n\n{opening}\n\n{body}\n'


def differing(config: Mapping, defaults: Mapping) -> dict[str, object]:
  """The fields of a config, by dotted name, that are not as in `defaults`."""
  config, defaults = (
    traverse_util.flatten_dict(dict(fields), sep='.') for fields in (config, defaults)
  )
  missing = object()
  return {
    name: value
    for name, value in config.items()
    if value != defaults.get(name, missing)
  }


def flag(name: str, value: object) -> str:
  """A field of the config as a word of a command line."""
  text = repr(tuple(value)) if isinstance(value, list | tuple) else str(value)
  return shlex.quote(f'--config.{name}={text}')


def _front_matter(format: str, *, size: Size) -> str:
  family = size.family.name.lower()
  return f"""\
---
library_name: {_LIBRARIES[format]}
pipeline_tag: zero-shot-image-classification
tags: [remote-sensing, image-text-retrieval, {family}]
# license: left to whoever publishes these weights
---
"""


def _opening(config: Mapping, *, format: str, size: Size) -> str:
  name, train = config['model']['size'], config['optimizer']['train']
  kind = config['model']['adapters']
  is_merged = kind == 'lora' and format not in ADAPTERS_ALONE
  merged = ' merged into its weights' if is_merged else ''
  return (
    f'{size.family.name} {name} {KINDS[kind]}{merged}, trained for retrieval between '
    f'aerial or satellite images and captions (`optimizer.train={train}`) with '
    'harma_jax, and exported by it.'
  )


def _data(config: Mapping, counts: Mapping[str, str]) -> str:
  name = pathlib.Path(config['data']['root']).name
  rows = [f'| {split} | {count} |' for split, count in counts.items()]
  return '\n'.join([f'Data set `{name}`.', '', '| split | holds |', '|---|---|', *rows])


def _results(results: Mapping, *, test_split: str) -> str:
  if not results:
    return 'The run has not finished: no final results.'
  intro = (
    f'Step {results["best_step"]} of {results["steps"]}, selected on '
    f'`{results["selected_on"]}`; seed {results["seed"]}. Recall at k in per cent, '
    'from image to text (i2t) and from text to image (t2i), and their mean (mR).'
  )
  if results['selected_on'] == test_split:
    intro += ' CHOSEN ON THE TEST SPLIT: its recall there is biased upwards.'
  tables = [_table(split, rows) for split, rows in results['splits'].items()]
  return '\n\n'.join([intro, *tables])


def _table(split: str, rows: Mapping[str, Recall]) -> str:
  header = [column.replace('_r', ' R@') for column in RECALLS[:-1]]
  lines = [[split, *header, 'mR'], ['---'] + ['---:'] * len(RECALLS)]
  lines += [
    [row, *(f'{recall[column]:.2f}' for column in RECALLS)]
    for row, recall in rows.items()
  ]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _training(config: Mapping, defaults: Mapping) -> str:
  known = traverse_util.flatten_dict(dict(defaults), sep='.')
  changes = without_paths(differing(config, defaults))
  flags = [flag(name, value) for name, value in changes.items() if name in known]
  others = {name: value for name, value in changes.items() if name not in known}
  command = ' \\\n  '.join(['python -m harma_jax.main --config=common.py', *flags])
  text = (
    'All fields that differ from the defaults (of folders and files only the name):\n\n'
    f'```\n{command}\n```'
  )
  if others:
    text += '\n\nFields that only the config file of the run has:\n\n'
    text += _json_block(others)
  return text


def _loading(format: str, *, name: str, fields: str, shape: Mapping) -> str:
  if format != 'harma':
    return _LOADING[format].format(name=name, fields=fields, **shape)
  is_pickle = name.endswith('.pth')
  original = _HARMA_PTH if is_pickle else _HARMA_SAFETENSORS
  return '\n\n'.join([original, _HARMA_AGAIN]).format(name=name, fields=fields)


def _fields(config: Mapping, defaults: Mapping) -> str:
  """Flags of a run that starts from what was exported, with the same model and data."""
  model = traverse_util.flatten_dict(dict(config['model']), sep='.')
  names = ('size', 'image_size', 'adapters', *_adapter_fields(model))
  fields = {f'model.{name}': model[name] for name in names}
  known = traverse_util.flatten_dict(dict(defaults), sep='.')
  changes = without_paths(differing(config, defaults))
  fields |= {
    name: value
    for name, value in changes.items()
    if name in known and name not in ('init', 'adapter')
  }
  return ' \\\n  '.join(flag(name, value) for name, value in fields.items())


def _adapter_fields(model: Mapping) -> Sequence[str]:
  """Which fields of the model, given flat, describe its adapters."""
  kind = model['adapters']
  if kind != 'harma':
    return [name for name in model if name.startswith(f'{kind}.')]
  of_harma = ('adapter_heads', 'adapter_attention', 'adapter_padding')
  return ('shared_adapter', 'bottleneck', 'shared_bottleneck', *of_harma)


def _json_block(content: object) -> str:
  return f'```json\n{json.dumps(content, indent=2)}\n```'
