"""What a trained model is worth and what it costs: quality with its uncertainty, and first costs."""
