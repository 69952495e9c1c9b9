"""A laboratory for one question: how does a pre-trained model scale?"""

import os
import sys

# transformers imports torchao wherever it finds it, for checkpoints that are never opened here: 4 s of each process and
# lines about kernels of other machines. ``models.quantised`` lifts the bar where int8 is asked for.
sys.modules.setdefault("torchao", None)  # type: ignore[arg-type]

# Whether there is a GPU is asked of the driver's library: asking CUDA itself would begin it, after which a fork of the
# warm server could not use it, and a trial could no longer choose its GPU.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
