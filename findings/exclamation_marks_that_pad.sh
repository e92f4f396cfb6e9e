#!/usr/bin/env bash
# A tokenizer that pads with `!` reads the exclamation marks of a text as padding.
#
# CLIP's text tower is padded with the number 0, and the token of that number is `!`. To make transformers'
# tokenizer pad so, published folders set `pad_token` to "!". One would guess that this names a number to fill
# up with. But a padding token is a special token, and special tokens are cut out of the text before it is
# split into words: " !" is no longer the token of a word's end but number 0, "ships!!!" gets three of them,
# "!!!" is no longer one token, and what is decoded without special tokens has lost them all.
#
# It matters because features of such captions differ from those of the library that the weights come from,
# by the punctuation of the caption alone, and nothing is reported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet transformers==5.24.0 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import json
import pathlib
import sys

import transformers

print('transformers', transformers.__version__)
# A small vocabulary of CLIP's kind: `!` is number 0, and `!</w>` ends a word.
tokens = ['!', '!</w>', '!!', '!!!</w>', 's', 'h', 'i', 'p', 'p</w>', 's</w>', 'sh', 'ip</w>', 'ip', 'ip s']
tokens = [token for token in tokens if ' ' not in token] + ['ship', 'ship</w>', 'ships</w>']
tokens += ['<|startoftext|>', '<|endoftext|>']
merges = ['s h', 'i p</w>', 'i p', 'sh ip', 'sh ip</w>', 'ship s</w>', '! !', '!! !</w>']
folder = pathlib.Path(sys.argv[1])
(folder / 'vocab.json').write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
(folder / 'merges.txt').write_text('\n'.join(['#version: 0.2', *merges, '']))


def read(text, **settings):
  tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, **settings)
  numbers = tokenizer(text)['input_ids'][1:-1]
  back = tokenizer.decode(numbers, skip_special_tokens=True).strip()
  words = [tokens[number] for number in numbers]
  print(f'{text!r} with {settings or "the usual padding"}: {words}, decoded {back!r}')
  return words, back


assert read('ships !') == (['ships</w>', '!</w>'], 'ships !')
assert read('ships!!!') == (['ships</w>', '!!!</w>'], 'ships !!!')
assert read('ships !', pad_token='!') == (['ships</w>', '!'], 'ships')
assert read('ships!!!', pad_token='!') == (['ships</w>', '!', '!', '!'], 'ships')
PY
"$folder/env/bin/python" "$folder/run.py" "$folder" 2> "$folder/said" || { cat "$folder/said"; exit 1; }
