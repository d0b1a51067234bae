"""Training with Lightning: data, Matryoshka objective, command line. Inference imports nothing of it."""
