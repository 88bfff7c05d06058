"""The controller's ports to the outside; library errors end here, as the scaler's own."""
