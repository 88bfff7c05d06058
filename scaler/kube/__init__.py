"""What the scaler knows of a Kubernetes cluster, through one API client; it decides nothing."""
