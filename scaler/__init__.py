"""The autoscaler: observes workloads, asks for forecasts, decides replica floors and acts on them."""
