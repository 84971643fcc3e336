"""How the workers name themselves to the hosts that they download from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.version import VERSION
from download.policy import FetchPolicy
from workers.support import resources


@pytest.mark.parametrize("policy", [resources.fetch_policy, resources.query_fetch_policy])
def test_a_download_names_the_program_and_its_version(policy: Callable[[], FetchPolicy]) -> None:
    assert policy().user_agent.split()[0] == f"snapsku/{VERSION}"
