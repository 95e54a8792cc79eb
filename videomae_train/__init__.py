"""Self-supervised pretraining of video transformers by masked reconstruction."""
