"""Readers of Level-1C products: their files, metadata, images, masks and auxiliary data."""
