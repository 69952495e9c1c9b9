"""Check the plan."""

from pipeline import plan

if __name__ == "__main__":
    plan.main()
