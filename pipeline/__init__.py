"""A laboratory for one question: how does a pre-trained model scale?"""

import sys

# transformers imports torchao wherever it finds it, for checkpoints that are never opened here: 4 s of each process and
# lines about kernels of other machines. ``models.quantised`` lifts the bar where int8 is asked for.
sys.modules.setdefault("torchao", None)  # type: ignore[arg-type]
