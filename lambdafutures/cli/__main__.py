"""`python -m lambdafutures.cli`."""

import sys

from lambdafutures.cli import main

sys.exit(main())
