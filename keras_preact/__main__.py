"""`python -m keras_preact`: the command line."""

import sys

from keras_preact.cli import main

if __name__ == "__main__":
    sys.exit(main())
