"""Which number in the cluster is a workload's replica floor, and writing it; one small module for each lever."""
