"""Scene classification: the rules of Sen2Cor, refinements, cloud shadows, parallax and learned models."""
