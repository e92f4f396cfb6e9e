#!/usr/bin/env bash
# By the cycles that the TPU's compiler writes into a program, looking up 16.8 million single
# values at arbitrary places is cheaper than adding one to as many values.
#
# The text of a compiled TPU program carries "estimated_cycles" at every fusion, and one would
# add them up to see where the time goes: the look-up should stand out, for a TPU has no quick
# way to an address of its own for each lane. But the gather itself becomes a custom fusion that
# carries no estimate at all; what is counted is the work around it, about half of adding one.
# Nothing in the program says so.
#
# It matters to whoever works down such a list: a warp of images by gathers of pixels looked like
# a few per cent of a training step, and replacing it by arithmetic like a loss.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.42.1
cat > "$folder/run.py" <<'PY'
import re
import jax
import jax.numpy as jnp
from jax.experimental import topologies

COUNT = 2**24
chips = topologies.get_topology_desc(platform='tpu', topology_name='v5e:2x2').devices
place = jax.sharding.SingleDeviceSharding(chips[0])

def shape(*size, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(size, dtype, sharding=place)

def fusions(function, *arguments):
  text = jax.jit(function).lower(*arguments).compile().as_text()
  return [line for line in text.splitlines() if ' fusion(' in line]

def cycles(lines):
  found = (re.search(r'"estimated_cycles":"(\d+)"', line) for line in lines)
  return sum(int(match[1]) for match in found if match)

def look_up(table, places):
  return table.at[places].get(mode='promise_in_bounds')

gather = fusions(look_up, shape(2**16), shape(COUNT, dtype=jnp.int32))
plus = fusions(lambda x: x + 1, shape(COUNT))
custom = [line for line in gather if 'kind=kCustom' in line]
silent = sum('estimated_cycles' not in line for line in custom)
print(len(custom), silent, cycles(gather), cycles(plus))
PY
read -r custom silent gather plus < <(
  env JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost TPU_WORKER_ID=0 \
    TPU_ACCELERATOR_TYPE=v5litepod-8 ALLOW_MULTIPLE_LIBTPU_LOAD=1 \
    "$folder/env/bin/python" "$folder/run.py" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
)
echo "jax 0.10.2, libtpu 0.0.42.1, compiled for a v5e"
echo "custom fusions of the look-up: $custom, without an estimate: $silent"
echo "estimated cycles: look-up $gather, adding one $plus"
[ "$custom" -ge 1 ] && [ "$silent" -eq "$custom" ]
[ "$gather" -lt "$plus" ]
