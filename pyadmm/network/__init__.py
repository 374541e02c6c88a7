"""A PyTorch module as a graph of layers: tracing, fake quantisation, conversion to integers."""
