"""`python -m keras_preact`: the command line."""

import sys

from keras_preact.cli import main

sys.exit(main())
