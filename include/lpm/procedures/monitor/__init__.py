"""Looking at every part of the pipeline. A look that fails is an observation, never a crash."""
