"""Simulated clusters driven by recorded load; nothing in here reaches a real cluster."""
