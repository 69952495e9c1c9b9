"""The MLflow backend; only this package imports mlflow."""

from pipeline.tracking.mlflow.tracker import MLflowTracker


def create_tracker() -> MLflowTracker:
    """Return the MLflow tracker."""
    return MLflowTracker()
