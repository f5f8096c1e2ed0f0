from __future__ import annotations

import re
from xml.etree import ElementTree

from cactus.confidence.plot import draw
from cactus.confidence.report import report

SVG = "{http://www.w3.org/2000/svg}"


def test_a_picture_has_a_point_for_each_bin_and_each_threshold() -> None:
    p = [0.15, 0.35, 0.35, 0.85, 0.95]
    right = [False, True, False, True, True]
    found = report(p, right)
    root = ElementTree.fromstring(draw("a <model> & more", {"one": found, "two": found}))
    kept = [each for each in found.shares if each.right is not None]
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == 2 * (len(found.bins) + len(kept) + 1)  # and one in the legend
    texts = [each.text or "" for each in root.iter(f"{SVG}text")]
    assert "a <model> & more" in texts
    assert any(re.match(r"two: AUROC 0\.\d{3}, ECE", text) for text in texts)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for circle in circles:
        assert 0 < float(circle.get("cx", -1)) < width and 0 < float(circle.get("cy", -1)) < height
