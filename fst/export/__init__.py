"""Style models for programs without fst: as an ONNX file, or as a program of `torch.export`."""
