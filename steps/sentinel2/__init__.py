"""What is known of Sentinel-2 and its product formats."""
