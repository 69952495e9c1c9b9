"""One module a stage: read inputs, call the work, write outputs."""

import os
import signal

if "DVC_STAGE" in os.environ and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until the stage handles it: nothing has started, so Ctrl-C during the imports needs no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
