"""Puts the notifications together: who is told, by the settings, and of what, by the statuses. It decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from controller import loop, settings
from controller.cloud import network
from controller.status import notices
from controller.telemetry import notify, receivers


def told(chosen: settings.Settings) -> Sequence[receivers.Receiver]:
    """Who is to be told. Raises ReceiverError where one can't be."""
    found: list[receivers.Receiver] = []
    if chosen.notify_url and chosen.notify_secret:
        found.append(receivers.Webhook(chosen.notify_url.read, chosen.notify_secret.read, chosen.inventory))
    if chosen.slack_url:
        found.append(receivers.Slack(chosen.slack_url.read, chosen.inventory))
    if chosen.github_token and chosen.git:
        owner, name = receivers.repository(chosen.git.url)
        token, api = chosen.github_token.read, chosen.github_api
        found.append(receivers.GitHub(token, api, owner, name, chosen.inventory))
    return found


@contextlib.asynccontextmanager
async def notifying(running: loop.Loop, chosen: settings.Settings) -> AsyncIterator[None]:
    """Tell them what changes, while inside. Raises ReceiverError."""
    if not (receiving := told(chosen)):
        yield
        return
    statuses, count = running.reconciler.statuses, running.reconciler.metrics.notified
    async with (
        network.session(network.trust(), for_sdk=False) as session,
        notify.Notifier(receiving, session, count=count) as notifier,
    ):

        def put(message: receivers.Message) -> None:
            """What this controller would say while another leads is out of date."""
            if running.leading:
                notifier.put(message)

        teller = notices.Teller(statuses, chosen.inventory, put)

        def loaded() -> None:
            teller.loaded(running.source.keys if running.source else (), now=running.reconciler.now())

        end = statuses.subscribe(teller.told)
        running.on_load.append(loaded)
        try:
            yield
        finally:
            running.on_load.remove(loaded)
            end()
