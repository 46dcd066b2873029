"""Exports of a trained model: one zip, ONNX, a PyTorch program, a MONAI bundle, DICOM."""
