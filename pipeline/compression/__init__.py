"""Making a trained model cheaper: each method is a plain function from a model to a model plus what it changed."""
