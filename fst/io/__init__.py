"""Files in and out: pictures, their names, what `torch.save` wrote; whole or not at all."""
