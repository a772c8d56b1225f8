"""The light detector for other runtimes: encoder and AU head as a short list of operations, and as an .onnx file."""
