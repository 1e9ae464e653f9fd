"""The local cloud: which parts it has, how they are kept running, and the commands that people use."""
