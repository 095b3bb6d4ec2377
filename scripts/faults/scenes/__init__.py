"""Every kind of fault as a scene: what is started, what is broken, and which node dials which.

A scene has one fault, and draws everything else that may differ from its own random numbers. Its decorator
names the rules that must find the fault (one of them is enough), and the rules that are allowed beside them.
"""

# In this order: a seed draws from the kinds in the order of their registration.
from . import cookies_and_names, epmd, handshake, tls, strangers, duplicates, healthy
from .base import KINDS, Scene

__all__ = ["KINDS", "Scene", "cookies_and_names", "duplicates", "epmd", "handshake", "healthy", "strangers",
           "tls"]
