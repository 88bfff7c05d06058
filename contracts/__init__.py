"""The wire contract between model and scaler, as data; this package must never hold code."""
