"""What the file verbs of the command line do and show."""
