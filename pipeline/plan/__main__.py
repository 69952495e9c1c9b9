"""Check the plan."""

import os

from pipeline import plan
from pipeline.system import preload

if __name__ == "__main__":
    plan.main()
    if "DVC_STAGE" in os.environ:
        preload.start_server()  # for the stages that DVC runs next
