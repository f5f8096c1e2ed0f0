"""What newer Pythons have in their own library, for those that have not."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from typing import Self as Self
    from typing import Unpack as Unpack
else:
    from typing_extensions import Self as Self
    from typing_extensions import Unpack as Unpack
