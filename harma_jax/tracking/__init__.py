"""What a run sends to TensorBoard, Weights & Biases, trackio or MLflow."""
