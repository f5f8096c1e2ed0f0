"""From a sound file to what a speech model takes: decoding, voice activity, log-mel features."""
