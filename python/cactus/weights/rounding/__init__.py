"""How numbers of a model are rounded to fewer bits."""
