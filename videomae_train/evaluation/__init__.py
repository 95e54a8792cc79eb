"""Scores, pictures and baselines of trained models."""
