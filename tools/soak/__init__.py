"""The soak: hours of work condensed, with a disk that fails; `python tools/soak`."""
