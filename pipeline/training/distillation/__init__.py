"""Distillation: settings, teacher and losses."""
