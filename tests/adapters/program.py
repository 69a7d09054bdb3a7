"""
An adapter on a server, in a process of its own: ``python -m tests.adapters.program ADAPTER SERVER PORT``.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

from tests.adapters.apps import APPS
from ws_isolation.testing.check_adapter import AdapterSubject


def app() -> Any:
    """
    Return the application of the adapter that the process was started for.
    """
    logging.disable()  # most checks make something fail
    subject = AdapterSubject()
    return APPS[os.environ["ADAPTER"]].build(subject.factory, subject.authenticate, subject.handler)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # uvicorn's implementation "websockets" is deprecated, and still in use
    os.environ["ADAPTER"], server, port = sys.argv[1:]
    APPS[os.environ["ADAPTER"]].servers[server](app(), int(port))
