"""Training with Lightning: data, Matryoshka objective, command line; inference needs none of it."""
