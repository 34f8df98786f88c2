"""What all tests share. Beside the tests, not among them: a folder of tests may have a conftest of its own."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow, not wrong: no law depends on the time an example takes. In CI the same examples are
# tried each time, so that a red run is the change's doing; elsewhere new ones are.
settings.register_profile("atoll", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("atoll"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "atoll")
