"""Using trained styles; imports neither Lightning nor the loss networks."""
