"""The training loop of every stage: tasks, batch arithmetic, stepping, checkpoints, progress."""
