#!/usr/bin/env bash
# A SigLIP that OpenCLIP made at another side saves weights that the same call does not load.
#
# `create_model(NAME, force_image_size=SIDE)` gives a vision transformer with the positions of that side. One
# would guess that its state dict goes back in by the same call with `pretrained=FILE`, and for a CLIP it does:
# the side is set when the towers are built. The SigLIPs stand on a trunk of timm, whose side is set after
# weights are loaded, when its positions have been resized from those of its name: the file has 256 positions, the
# trunk that is to take them 196, and the load fails. For the same reason an `image_size` in a model config
# of one's own reaches what the model reports and the preprocessing, but not the trunk.
#
# It matters for who fine-tunes a SigLIP at another side, or exports one for OpenCLIP: the side has to be
# that of the trunk's name, or the weights are loaded by hand after the model was made.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet open_clip_torch==3.3.0 timm==1.0.31 torch==2.14.1 torchvision==0.29.1
cat > "$folder/run.py" <<'PY'
import json
import logging
import pathlib
import sys

import open_clip
import timm
import torch

logging.disable()
folder, side = pathlib.Path(sys.argv[1]), 256
print('open_clip', open_clip.__version__, 'timm', timm.__version__)


def goes_back(name):
  file = str(folder / f'{name}.pt')
  model = open_clip.create_model(name, force_image_size=side)
  torch.save(model.state_dict(), file)
  try:
    open_clip.create_model(name, force_image_size=side, pretrained=file)
  except RuntimeError as error:
    print(f'{name}:', str(error).splitlines()[-1].strip())
    model.load_state_dict(torch.load(file))
    return False
  print(f'{name}: loaded')
  return True


assert goes_back('ViT-B-32')
assert not goes_back('ViT-B-16-SigLIP')

config = open_clip.get_model_config('ViT-B-16-SigLIP')
config['vision_cfg']['image_size'] = side
(folder / 'mine.json').write_text(json.dumps(config))
open_clip.add_model_config(folder / 'mine.json')
tower = open_clip.create_model('mine').visual
print('a config of one\'s own: reports', tower.image_size, 'with', tower.trunk.pos_embed.shape[1], 'positions')
assert tuple(tower.image_size) == (side, side)
assert tower.trunk.pos_embed.shape[1] == (224 // 16) ** 2
PY
"$folder/env/bin/python" "$folder/run.py" "$folder"
