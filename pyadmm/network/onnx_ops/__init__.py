"""What each ONNX operator becomes in torch, by kind of operator."""
