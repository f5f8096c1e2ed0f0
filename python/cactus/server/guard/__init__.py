"""What every request passes first: pure ASGI, so that a client that goes away is seen."""
