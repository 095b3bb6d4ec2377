"""Every kind of cluster that faults are played on."""

from . import between, plain, products, secure
from .cluster import KINDS, Cluster, Member

__all__ = ["KINDS", "Cluster", "Member", "between", "plain", "products", "secure"]
