"""Elevation, horizons and illumination of the ground."""
