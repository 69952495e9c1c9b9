"""Kinds of tasks and their configuration."""
