"""What each contestant runs: its app for the workers, and its calls for the client process."""

from __future__ import annotations
