"""`python -m videomae_train.cli`, for processes that are started with this interpreter."""

from videomae_train.cli import main

main()
