"""A laboratory for one question: how does a pre-trained model scale?"""

import os
import sys

# transformers imports torchao wherever it finds it, for checkpoints that are never opened here: 4 s of each process and
# lines about kernels of other machines. ``models.quantised_layers`` removes this entry for int8.
sys.modules.setdefault("torchao", None)  # type: ignore[arg-type]

# Detect GPUs through the driver's library: CUDA itself would be initialised, after which a fork of the
# warm server could not use it, and a trial could no longer choose its GPU.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
