"""A connection for what reads bodies: the console's actions."""

from app.http.connection import HttpConnection

MOST_WAITING = 1 << 16
"""Bytes of a body that may wait for whoever reads it before its sender must wait too."""


class BodyConnection(HttpConnection):
    """HttpConnection that hands bodies on. How long one may be is for its reader to say, who gets it piece by piece."""

    def on_body(self, body: bytes) -> None:
        """Keep it for the answer under way; what comes behind the answer is dropped."""
        exchange = self.turns.last
        if exchange.response_complete:
            super().on_body(body)
            return
        self.head.held = 0
        exchange.body += body
        if len(exchange.body) > MOST_WAITING:
            self.flow.pause_reading()
        exchange.message_event.set()
