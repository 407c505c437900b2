"""One follow stream for ever: connected, watched, connected again, and moved to renewed certificates.

Two threads are at work. The stream's own connects, reads and waits; nothing it meets ends it but
`stop`. Whoever watches calls `watch` often: it asks the server how it is, gives up a stream that is
dead or stalled, and when the certificate files have changed opens a second connection with them,
which takes over once the server has answered on it. Renewed files that are no good change nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from flowwatch.config_values import format_duration
from flowwatch.receive.backoff import Backoff
from flowwatch.receive.certificates import CertificateFiles, Certificates, read_certificates, tls_problems
from flowwatch.receive.channel import SERVER_STATUS, Link, Target, connect, failure_of
from flowwatch.receive.failures import LASTING, explain
from flowwatch.receive.liveness import Liveness
from flowwatch.receive.subscription import Subscription

ASK_EVERY = 15.0
"""Seconds between two questions to a server."""
RENEW_AGAIN = 30.0
"""Seconds after which renewed certificates that a server refused are tried again."""
RENEWED = "the certificates were renewed; a stream with the new ones takes over"

log = logging.getLogger("flowwatch.receive")


@dataclass(frozen=True, slots=True)
class _Failure:
    text: str
    lasting: bool = False
    """Trying again soon will hardly help."""
    healthy: bool = False
    """The stream had lived long before it failed."""


class Stream:
    """A follow stream to `target` for `subscription`. `clock` dates what happens, `monotonic` measures."""

    def __init__(
        self,
        target: Target,
        subscription: Subscription,
        *,
        name: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        settings = target.settings
        self.target = target
        self.subscription = subscription
        self._name = name
        self._clock = clock
        self._monotonic = monotonic
        self._backoff = Backoff(settings.reconnect_min, settings.reconnect_max, random or Random())
        self._ask_every = min(ASK_EVERY, settings.quiet_timeout / 3)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._liveness = Liveness(settings.quiet_timeout, monotonic(), 0)
        self._up_since: float | None = None
        self._ask_at = 0.0
        self._renewal: Link | None = None
        self._renewed = False
        self._refused: Certificates | None = None
        self._renew_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"flowwatch-{name}"[:15], daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread."""
        self._stopping.set()
        with self._lock:
            if self._link is not None:
                self._link.give_up("stopped")

    @property
    def stopping(self) -> bool:
        """Whether it was stopped."""
        return self._stopping.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the stream's end; says whether it has come."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # Whoever watches.

    def watch(self, files: CertificateFiles) -> None:
        """Look after the stream: hear what the server answered, ask again, give it up when it is dead, and
        move it to the certificates that are in force."""
        with self._lock:
            link = self._link
            if link is None:
                return
            now = self._monotonic()
            if self.target.encrypted and not self._stopping.is_set():
                self._renew(link, files, now)
            self._hear(link, now)
            if link.question is None and now >= self._ask_at:
                self._ask_at = now + self._ask_every
                link.ask(self.subscription.question)
            if verdict := self._liveness.look(self.subscription.received, now):
                quiet = f"{self._name} sent nothing for {format_duration(self.target.settings.quiet_timeout)}"
                link.give_up(f"{quiet} {_DEAD[verdict]}")

    def _hear(self, link: Link, now: float) -> None:
        method = link.asked
        reply = link.reply()
        if reply is None or not reply.answered:
            return
        first = self._up_since is None
        self._up(link, now)
        answer = self.subscription.heard(self._clock(), method, reply)
        self._liveness.hear(answer, self.subscription.received, now)
        if first:
            self._ask_at = now

    def _renew(self, link: Link, files: CertificateFiles, now: float) -> None:
        """Open a second connection with renewed certificates; hand over to it once it is known to work."""
        renewal = self._renewal
        if renewal is None:
            found = files.current
            outdated = found is not None and found != link.certificates and files.read_at > link.made
            due = found != self._refused or now >= self._renew_at
            if found is not None and outdated and due and self._up_since is not None:
                self._renewal = renewal = connect(self.target, found, now)
                renewal.ask(SERVER_STATUS)
            return
        if self._renewed or (reply := renewal.reply()) is None:
            return
        if not reply.answered:
            self._refused, self._renew_at = renewal.certificates, now + RENEW_AGAIN
            self._drop_renewal()
            log.warning("%s does not accept the renewed certificates; the stream goes on with the old ones", self._name)
            return
        if renewal.flows is None:
            renewal.follow(self.subscription.method, *self.subscription.request())
            # Answered only after the server has the request for the stream, which was sent before.
            renewal.ask(SERVER_STATUS)
            return
        self._renewed = True
        link.give_up(RENEWED)

    def _drop_renewal(self) -> None:
        if self._renewal is not None:
            self._renewal.close()
        self._renewal, self._renewed = None, False

    def _up(self, link: Link, now: float) -> None:
        """Note the first sign of life of a stream; either thread may see it first. Under the lock."""
        if self._up_since is not None:
            return
        self._up_since = now
        status = self.subscription.status
        status.connects += 1
        status.state = "streaming"
        status.error = ""
        self.subscription.opened(self._clock(), link.since)
        log.info("receiving from %s", self._name)

    # The stream's own thread.

    def _run(self) -> None:
        status = self.subscription.status
        while not self._stopping.is_set():
            failure = self._attempt()
            if failure is None or self._stopping.is_set():
                continue
            if failure.healthy:
                self._backoff.reset()
            pause = self._backoff.longest if failure.lasting else self._backoff.next()
            status.error = failure.text
            status.state = "waiting"
            # Last: whoever waits for it finds the rest in place.
            status.failures += 1
            log.warning("%s; connecting again in %.1f s", failure.text, pause)
            self._stopping.wait(pause)
        with self._lock:
            self._drop_renewal()
        status.state = "ended"

    def _attempt(self) -> _Failure | None:
        """One connection from its beginning to its end; None if another one is to follow at once."""
        try:
            link = self._handed_over()
            if link is None:
                self.subscription.status.state = "connecting"
                settings, made = self.target.settings, self._monotonic()
                if self.target.encrypted and (problems := tls_problems(settings)):
                    return _Failure("; ".join(str(problem) for problem in problems))
                certificates = read_certificates(settings.tls) if self.target.encrypted else Certificates()
                link = connect(self.target, certificates, made)
            try:
                return self._follow(link)
            finally:
                with self._lock:
                    self._link = None
                link.close()
        except Exception as error:
            # Nothing may end this thread but `stop`: a stream that is silently gone looks like a quiet cluster.
            log.exception("unexpected error while receiving")
            return _Failure(f"unexpected error: {error!r}", lasting=True)

    def _handed_over(self) -> Link | None:
        with self._lock:
            link = self._renewal if self._renewed else None
            if link is None:
                self._drop_renewal()
            self._renewal, self._renewed = None, False
            return link

    def _follow(self, link: Link) -> _Failure | None:
        taken_over = link.flows is not None
        if not taken_over:
            link.follow(self.subscription.method, *self.subscription.request())
        with self._lock:
            now = self._monotonic()
            self._link = link
            self._up_since = None
            self._liveness = Liveness(self.target.settings.quiet_timeout, now, self.subscription.received)
            if taken_over:
                self._up(link, now)
            else:
                # The first question is the one that every server understands.
                self._ask_at = now + self._ask_every
                link.ask(SERVER_STATUS)
            if self._stopping.is_set():
                link.give_up("stopped")
        code, details = "OK", ""
        try:
            first = next(link.flows, None)
            if first is not None:
                with self._lock:
                    self._up(link, self._monotonic())
                self.subscription.take((first,))
                self.subscription.take(link.flows)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            code, details = failure
        finally:
            reason = link.given_up or explain(code, details, self.target)
            lived = self._close(reason)
        if link.given_up == RENEWED:
            return None
        return _Failure(reason, lasting=code in LASTING, healthy=lived > self.target.settings.reconnect_max)

    def _close(self, reason: str) -> float:
        """Tell that the stream ended, and how long it was up."""
        with self._lock:
            self._link = None
            if self._up_since is None:
                return 0.0
            now, at = self._monotonic(), self._clock()
            alive = max(self._liveness.alive, self.subscription.last_message, self._up_since)
            self.subscription.closed(at, at - max(0.0, now - alive), reason)
            return now - self._up_since


_DEAD = {"silent": "and does not answer", "stalled": "although it sees flows"}
