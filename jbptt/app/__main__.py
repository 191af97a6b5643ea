"""`python -m jbptt.app` is `jbptt`."""

import sys

from jbptt.app.program import main

sys.exit(main())
