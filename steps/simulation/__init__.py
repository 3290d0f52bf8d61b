"""Scenes that are made rather than received: the demo product."""
