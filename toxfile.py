"""Loaded by tox: tells .ci/in_tests.py which Python runs it, so that tox need not be on the PATH."""

import os
import sys

os.environ["TOX_PYTHON"] = sys.executable
