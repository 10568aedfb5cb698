"""The networks: the transformer network that paints and the loss network that judges."""
