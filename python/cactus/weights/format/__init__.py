"""A weights folder and the files in it: tiles of rows, safetensors, config.json."""
