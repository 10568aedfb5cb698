"""What the process runs on: memory, precision, devices, other processes, the terminal."""
