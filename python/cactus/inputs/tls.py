"""Whose certificates are trusted, wherever this package connects."""

from __future__ import annotations

import os
import ssl


def tls_context(certificates: str | None = None) -> ssl.SSLContext:
    """The system's authorities and `certificates`; certifi's where the environment names none.

    Raises OSError where `certificates` cannot be read.
    """
    context = ssl.create_default_context()  # reads SSL_CERT_FILE and SSL_CERT_DIR itself
    if certificates:
        context.load_verify_locations(certificates)
    elif not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
