"""Models: where they come from, how they open, and what they are pre-trained to do."""
