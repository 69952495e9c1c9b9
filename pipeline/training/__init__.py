"""Training: fine-tuning and pre-training, with what they need to be fast and comparable."""
