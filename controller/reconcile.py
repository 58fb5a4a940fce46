"""One pass over one object, as a table of contents: load, observe, plan, apply, judge, report.

Nothing in memory is needed to go on: kill the process anywhere, start another, and the next pass finds in Azure
where this one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from controller import apply, objects
from controller.cloud import port
from controller.model import desired, outcome
from controller.model.conditions import Reason
from controller.plan import planner
from controller.sources import content as folders
from controller.sources import manifest, secrets
from controller.status import report, store, summarize
from controller.telemetry import metrics

log = structlog.get_logger()

Key = store.Key


@dataclass
class Reconciler:
    """Runs passes. `now` tells the time, aware."""

    cloud: port.Cloud
    statuses: store.Store
    metrics: metrics.Metrics
    scope: planner.Scope
    now: Callable[[], datetime]
    memory: objects.Memory = field(default_factory=objects.Memory)

    async def reconcile(self, source: manifest.Source, key: Key) -> summarize.Requeue:
        """One pass; always reports, whatever happened on the way."""
        steps: Sequence[summarize.StepReport] = ()
        view: objects.View | None = None
        started = self.now()
        try:
            async with asyncio.timeout(objects.timeout(source.find(*key).object)):
                view = await self.look(source, key)
                account, share = view.stack.account, view.ids.names.share
                applied = await apply.apply(view.plan, view.cloud, account=account, share=share, pack=view.pack)
            steps = objects.judge(view, applied, now=self.now())
        except outcome.OutcomeError as error:
            steps = _failed(error.outcome)
        except (folders.ContentError, secrets.SecretError) as error:
            steps = _failed(_unusable(error))
        except TimeoutError:
            steps = _failed(outcome.Transient(Reason.TIMEOUT, "the pass took longer than it may"))
        except Exception as error:
            log.exception("pass failed")
            steps = _failed(outcome.Transient(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
        finally:
            requeue = self._report(source, key, view=view, steps=steps, started=started)
        return requeue

    async def observe(self, source: manifest.Source, key: Key) -> None:
        """A pass that writes nothing: what is pending is reported as waiting."""
        try:
            view = await self.look(source, key)
            self._report(source, key, view=view, steps=objects.judge(view, {}, now=self.now()), started=self.now())
        except outcome.OutcomeError as error:
            self._report(source, key, view=None, steps=_failed(error.outcome), started=self.now())
        except (folders.ContentError, secrets.SecretError) as error:
            self._report(source, key, view=None, steps=_failed(_unusable(error)), started=self.now())

    async def look(self, source: manifest.Source, key: Key) -> objects.View:
        """Observe and plan, writing nothing: what `acaops plan` shows."""
        loaded = source.find(*key)
        if isinstance(loaded.object, desired.Environment):
            return await objects.environment(self.cloud, loaded.object, scope=self.scope)
        stands_on = source.environment(loaded.object.spec.environment_ref)
        return await objects.app(
            self.cloud, loaded, stands_on=stands_on, scope=self.scope, memory=self.memory, now=self.now()
        )

    def _report(
        self,
        source: manifest.Source,
        key: Key,
        *,
        view: objects.View | None,
        steps: Sequence[summarize.StepReport],
        started: datetime,
    ) -> summarize.Requeue:
        spec = source.find(*key).object.spec
        result = report.Pass(
            key,
            steps,
            source_revision=source.revision,
            commit=self.scope.commit,
            started=started,
            ended=self.now(),
            interval=spec.interval if isinstance(spec, desired.AppSpec) else objects.INTERVAL,
            retry_interval=spec.retry_interval if isinstance(spec, desired.AppSpec) else None,
            release=view.rollout.release if view and view.rollout else None,
            endpoint=view.endpoint if view else None,
            serving=objects.serving(view) if view else None,
        )
        return report.tell(self.statuses, self.metrics, result)


def _failed(why: outcome.Outcome) -> tuple[summarize.StepReport, ...]:
    return (summarize.StepReport("observe", "", "", why),)


def _unusable(error: folders.ContentError | secrets.SecretError) -> outcome.Outcome:
    """Content and secrets are the user's: nothing is written for the app until they can be read whole."""
    if isinstance(error, secrets.SecretError):
        return outcome.Stalled(Reason.SECRET_NOT_FOUND, str(error), slowly=True)
    if error.retriable:
        return outcome.Transient(Reason.INVALID_CONTENT, str(error))
    return outcome.Stalled(Reason.INVALID_CONTENT, str(error), slowly=True)
