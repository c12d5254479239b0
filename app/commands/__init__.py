"""The command line: one module for each command. What runs one is imported when it runs: memory and start."""
