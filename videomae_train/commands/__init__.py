"""What the command line does and shows: what verbs on files do, and what surrounds those that are configured."""
