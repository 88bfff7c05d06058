"""The forecaster: trained in torch, exported to one ONNX graph, served by KServe over Open Inference Protocol v2."""
