"""Facts of the mission: bands, names, angles, digital numbers, and what is known of a scene."""
