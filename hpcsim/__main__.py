"""``python -m hpcsim``."""

import sys

from hpcsim.cli.main import main

sys.exit(main())
