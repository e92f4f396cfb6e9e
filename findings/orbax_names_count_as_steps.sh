#!/usr/bin/env bash
# For orbax a folder with a number for a name is a step, and the best step is what still has metrics.
#
# A checkpoint is written under another name and renamed when it is whole, so one would guess that the
# manager tells whole steps from other folders: each has a file of metadata. But an empty folder `7` beside
# the steps 1, 2 and 3, as a copy between machines leaves it that has only begun, becomes the latest step,
# with a line in the log; restoring it gives nothing, and no error. And where the folder `metrics` of the
# best step is lost, that step still restores, while best_step() answers with a worse one, without a word.
#
# It matters wherever runs are copied between a cluster and a desk: training goes on from nothing, or
# evaluation and export take other weights than those that were selected.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import importlib.metadata
import pathlib
import shutil
import sys

import numpy as np
import orbax.checkpoint as ocp

print('orbax-checkpoint', importlib.metadata.version('orbax-checkpoint'))
root = pathlib.Path(sys.argv[1]) / 'steps'


def manager():
  options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics['recall'])
  return ocp.CheckpointManager(root, options=options)


with manager() as steps:
  for step, recall in ((1, 0.5), (2, 0.9), (3, 0.7)):
    state = ocp.args.StandardSave({'w': np.full(3, step)})
    args = ocp.args.Composite(state=state)
    steps.save(step, args=args, metrics={'recall': recall})
  steps.wait_until_finished()
  print('as saved: latest', steps.latest_step(), 'best', steps.best_step())
  assert (steps.latest_step(), steps.best_step()) == (3, 2)

(root / '7').mkdir()
with manager() as steps:
  restored = dict(steps.restore(7).items())
  print('with an empty folder 7: latest', steps.latest_step(), 'restored', restored)
  assert steps.latest_step() == 7
  assert restored == {}
(root / '7').rmdir()

shutil.rmtree(root / '2' / 'metrics')
with manager() as steps:
  args = ocp.args.Composite(state=ocp.args.StandardRestore())
  state = steps.restore(2, args=args)['state']
  print('step 2 without metrics: best', steps.best_step(), 'restored', state)
  assert steps.best_step() == 3
  assert (state['w'] == 2).all()
PY
"$folder/env/bin/python" "$folder/run.py" "$folder"
