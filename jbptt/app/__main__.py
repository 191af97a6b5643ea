"""`python -m jbptt.app` is `jbptt`."""

import sys

from jbptt.app.cli import main

sys.exit(main())
