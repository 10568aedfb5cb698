"""The style model: its file, single styles, their names, its card."""
