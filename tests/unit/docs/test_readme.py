"""The README leads somewhere."""

from __future__ import annotations

import re

from cli.processes import ROOT


def test_every_link_of_the_readme_to_a_file_leads_to_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
