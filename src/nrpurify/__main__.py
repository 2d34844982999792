"""``python -m nrpurify``: the command line, where its script is not on the path."""

import sys

from nrpurify.cli import main

sys.exit(main())
