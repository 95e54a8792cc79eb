"""Measurements that a user can repeat: contenders in turn, medians with their spread, ratios in one run."""
