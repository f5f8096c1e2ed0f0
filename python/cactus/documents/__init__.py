"""From a folder of files to chunks: walk it, read each file as text with places, cut the text."""
