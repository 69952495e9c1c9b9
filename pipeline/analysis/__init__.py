"""Results, statistics, laws, recommendation and report; knows neither DVC, Hydra nor MLflow."""
