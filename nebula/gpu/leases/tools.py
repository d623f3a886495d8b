"""What leases are made with; handing them out and scheduling share it."""

from collections.abc import Callable
from dataclasses import dataclass

from nebula.db.engine import Database
from nebula.gpu.hands import Hands
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.picture import Pictures
from nebula.gpu.leases.settings import LeaseSettings
from nebula.gpu.leases.signals import Signals
from nebula.services.directory import Publisher
from nebula.services.map import ServiceMap


@dataclass
class Tools:
    """The ledger and everything around it."""

    db: Database
    ledger: Ledger
    signals: Signals
    pictures: Pictures
    hands: Hands
    services: Callable[[], ServiceMap]
    settings: LeaseSettings
    events: Publisher | None = None
