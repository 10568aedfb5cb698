"""What can be asked of a painting: each control a file."""
