"""Settings of all tests: a busy machine is no reason to fail."""

import os

from hypothesis import HealthCheck, Phase, settings

# The same examples on every run, so that the gate judges the change and not the draw; HYPOTHESIS_PROFILE=explore draws anew.
settings.register_profile("hpcsim", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unshrunk", settings.get_profile("hpcsim"), phases=(Phase.explicit, Phase.generate))
settings.register_profile("explore", deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "hpcsim"))
