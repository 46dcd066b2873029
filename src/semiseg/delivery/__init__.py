"""A trained model leaves the house: as one zip, as ONNX, as a PyTorch program, as a MONAI bundle."""
