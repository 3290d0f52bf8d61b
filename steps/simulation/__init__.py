"""Scenes that are made rather than received: simulated ones with known truth, and the demo product."""
