"""Images for models that see: tiles and patches, the programs that look at them, features."""
