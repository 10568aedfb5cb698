"""Clips: what they are, in and out, steady in time."""
