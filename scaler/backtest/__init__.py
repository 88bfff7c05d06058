"""The closed loop over recorded load: every rival, every knob, and whether prediction pays for a workload."""
