"""Check the plan."""

import os

from pipeline import plan, warm

if __name__ == "__main__":
    plan.main()
    if "DVC_STAGE" in os.environ:
        warm.prepare()  # for the stages that DVC runs next
