"""Models: where they come from, how they open, and what they are pre-trained to do."""

import sys

# transformers imports torchao wherever it finds it, for checkpoints that are never opened here: 4 s of each process and
# lines about kernels of other machines. ``quantised`` lifts the bar where int8 is asked for.
sys.modules.setdefault("torchao", None)  # type: ignore[arg-type]
